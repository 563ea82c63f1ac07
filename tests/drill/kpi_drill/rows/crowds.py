"""More is asked than can be served: floods of sign-ins, costly searches, and three times the load."""

import asyncio
import itertools
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from urllib.parse import quote

from kpi_drill.crowd import Crowd, Loop, Make
from kpi_drill.http import Request, get, post_form
from kpi_drill.ledger import Person
from kpi_drill.load import API, PASSWORD, Load
from kpi_drill.platform import Platform
from kpi_drill.stage import Stage
from kpi_drill.verdict import Verdict, milliseconds, percent, percentile

_FLOODERS = 40
_FLOOD_SECONDS = 12.0
_HONEST_SECONDS = 2.0
# The real cost of a hash, and no other limit than the queue of hashes: the limits on failures would end the flood.
_REAL_HASHES = {
    "auth": {
        "ARGON2_MEMORY_KIB": "19456",
        "ARGON2_TIME_COST": "2",
        "FAILURES_PER_ACCOUNT": "10000",
        "FAILURES_PER_ACCOUNT_AND_ADDRESS": "1000",
        # Who signs in again and again loses their oldest session.
        "SESSION_LIMIT": "1000",
    }
}
# What a flood of sign-ins must not touch: all that needs no hash.
_HASHED = {"login", "register"}

_POSTS = 20_000
_SEARCH_SECONDS = 8.0
_FILL = (
    "INSERT INTO authors VALUES (1, 'anna')",
    """
    INSERT INTO posts (owner_id, title, content, date, published_at, votes)
    SELECT
        1, 'w' || n %% 97 || ' w' || n %% 501 || ' title words ' || n,
        'http://w' || n %% 1009 || '.example.com/p' || n || ' some text of w' || n %% 7 || repeat(' filler', 20),
        timestamptz '2024-01-01Z' + n * interval '1 minute', timestamptz '2024-01-01Z' + n * interval '1 minute', 0
    FROM generate_series(1, 20000) AS n
    """,
    "VACUUM ANALYZE posts",
)
# The most that a search may contain.
_COSTLY = quote(" ".join(f"-w{number}" for number in range(600, 608)))
# As an idle page takes on a quiet machine: below it a ratio says nothing.
_IDLE_SECONDS = 0.002

_PEAK_SECONDS = 4.0
_PEAK_CLIENTS = (8, 24)
_OVERLOAD = 3
# Later than that the client has turned away.
_GOOD_SECONDS = 2.0
_REFUSAL_SECONDS = 0.05


def _from(address: str) -> tuple[str, str]:
    return ("X-Forwarded-For", address)


def _login(name: str, password: str, address: str) -> Request:
    return post_form(f"{API}/auth/login", {"username": name, "password": password}, _from(address))


async def flood_sign_in(stage: Stage) -> Verdict:
    """40 clients guess passwords as fast as they can: behind one address, then from one address each."""
    verdicts = []
    async with stage.platform(_REAL_HASHES) as platform:
        async with stage.load(platform, rate=20) as load:
            await load.settle()
            for name, addresses in (
                ("one address", ["198.51.100.1"] * _FLOODERS),
                ("40 addresses", [f"198.51.100.{number}" for number in range(_FLOODERS)]),
            ):
                verdicts.append(await _flood(platform, load, name, addresses))
                await load.wait_until_healthy(20)
        losses = await stage.check(load, platform)
    kept = all(verdict.kept for verdict in verdicts) and losses.total == 0
    return Verdict(f"{'; '.join(verdict.figure for verdict in verdicts)}; {losses}", kept)


async def _flood(platform: Platform, load: Load, name: str, addresses: Sequence[str]) -> Verdict:
    flood, honest = Crowd(platform.ports("gateway")), Crowd(platform.ports("gateway"))
    guesses = [
        Loop(partial(_login, f"victim{number}", "a wrong guess", address)) for number, address in enumerate(addresses)
    ]
    async with flood.asking(guesses), honest.asking(list(_sign_in_elsewhere(load.people[:8]))):
        samples = await load.rest(_FLOOD_SECONDS)
    harmed = sum(one.failed for one in samples if one.kind not in _HASHED)
    share = honest.in_time(_HONEST_SECONDS)
    figure = f"{name}: {percent(share)} of {len(honest.replies)} honest sign-ins within {_HONEST_SECONDS:g} s"
    figure += f" beside {len(flood.replies)} guesses ({flood.statuses})" + (
        f", {harmed} others failed" if harmed else ""
    )
    return Verdict(figure, share >= 0.8 and not harmed)


def _sign_in_elsewhere(people: Sequence[Person]) -> Iterable[Loop]:
    """Some from where they usually sign in, and one from an address that has never been seen."""
    yield from (Loop(partial(_login, one.name, PASSWORD, one.address), rest=1.0) for one in people[:4])
    numbers = itertools.count(1)
    yield Loop(lambda: _login(people[4].name, PASSWORD, f"203.0.{next(numbers) % 250}.77"), rest=0.5)


async def search_at_high_cost(stage: Stage) -> Verdict:
    """8 clients, then 40, send the most costly search that is legal; others read."""
    async with stage.platform() as platform:
        await asyncio.to_thread(_fill, stage)
        await _read(platform, searchers=0)
        idle, _ = await _read(platform, searchers=0)
        verdicts = []
        for searchers in (8, 40):
            busy, search = await _read(platform, searchers=searchers)
            allowed = 2 * max(idle, _IDLE_SECONDS)
            figure = f"{searchers} clients: {milliseconds(busy)} ({len(search.good)} of {len(search.replies)} served)"
            verdicts.append(Verdict(figure, busy <= allowed))
    figures = "; ".join(verdict.figure for verdict in verdicts)
    return Verdict(f"p50 of GETs idle {milliseconds(idle)}; {figures}", all(verdict.kept for verdict in verdicts))


async def _read(platform: Platform, *, searchers: int) -> tuple[float, Crowd]:
    """The p50 of reads by id and of pages meanwhile."""
    reads, search = Crowd(platform.ports("gateway")), Crowd(platform.ports("gateway"))
    costly = [
        Loop(partial(get, f"{API}/posts?search={_COSTLY}&total=true", _from(f"198.51.100.{number}")))
        for number in range(searchers)
    ]
    chosen = random.Random(searchers)
    readers = [
        Loop(lambda: get(f"{API}/posts/{chosen.randint(1, _POSTS)}", _from("203.0.113.1")), rest=0.02),
        Loop(lambda: get(f"{API}/posts?limit=10", _from("203.0.113.2")), rest=0.02),
    ]
    async with search.asking(costly), reads.asking(readers):
        await asyncio.sleep(_SEARCH_SECONDS)
    failed = len(reads.refused)
    if failed:
        raise RuntimeError(f"{failed} reads failed: {reads.statuses}")
    return percentile((reply.took for reply in reads.replies), 0.5), search


def _fill(stage: Stage) -> None:
    for statement in _FILL:
        stage.server.query("drill_content", statement)


async def overload(stage: Stage) -> Verdict:
    """Three times as many requests a second as can be served, of reads and of searches."""
    chosen = random.Random(stage.seed)

    def read() -> Request:
        # Long pages cost the services much more than the load, which has to send three times as many.
        return get(f"{API}/posts?limit=100", _from(f"10.1.0.{chosen.randrange(100)}"))

    def search() -> Request:
        return get(f"{API}/posts?search=w{chosen.randrange(500)}&total=true", _from(f"10.1.0.{chosen.randrange(100)}"))

    async with stage.platform() as platform:
        await asyncio.to_thread(_fill, stage)
        with _services_on_one_core(stage, platform):
            verdicts = [await _overload(platform, "reads", read), await _overload(platform, "searches", search)]
    return Verdict("; ".join(one.figure for one in verdicts), all(one.kept for one in verdicts))


@contextmanager
def _services_on_one_core(stage: Stage, platform: Platform) -> Iterator[None]:
    """Otherwise the load, which is three times as much, would take the processor time from them."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    if len(cores) < 2:
        yield
        return
    stage.server.pin(cores[:1])
    for replica in platform.replicas.values():
        replica.pin(cores[:1])
    os.sched_setaffinity(0, cores[1:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        stage.server.pin(cores)


async def _overload(platform: Platform, name: str, make: Make) -> Verdict:
    peak = max([await _measure_peak(platform, make, clients) for clients in _PEAK_CLIENTS])
    crowd = Crowd(platform.ports("gateway"))
    took = await crowd.ask_at(_OVERLOAD * peak, _PEAK_SECONDS, make)
    goodput = sum(reply.ok and reply.took <= _GOOD_SECONDS for reply in crowd.replies) / took
    refusal = percentile((reply.took for reply in crowd.refused), 0.99)
    figure = (
        f"{name}: {goodput:.0f} of {peak:.0f}/s ({percent(goodput / peak)}) at {len(crowd.replies) / took:.0f}/s, "
        f"p99 of {len(crowd.refused)} refusals {milliseconds(refusal)}"
    )
    return Verdict(figure, goodput >= 0.8 * peak and refusal <= _REFUSAL_SECONDS)


async def _measure_peak(platform: Platform, make: Make, clients: int) -> float:
    crowd = Crowd(platform.ports("gateway"))
    async with crowd.asking([Loop(make)] * clients):
        await asyncio.sleep(_PEAK_SECONDS)
    return len(crowd.good) / _PEAK_SECONDS
