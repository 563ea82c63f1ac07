"""Auth's feed is cut off from both contents: they refuse writes in time, go on with reads, and come back alone."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from math import inf
from typing import NamedTuple, Self

from kpi_shared.testing.process import free_port

from kpi_drill.accounts import open_accounts
from kpi_drill.http import Request, get, post
from kpi_drill.ledger import Person
from kpi_drill.platform import Platform
from kpi_drill.probes import Probe, run_probes
from kpi_drill.proxy import Proxy
from kpi_drill.stage import Stage
from kpi_drill.verdict import Verdict, seconds

# Of silence, until writes are refused: REVOCATION_SILENCE_LIMIT.
_LIMIT_SECONDS, _SHORT_LIMIT_SECONDS = 10.0, 3.0
_BEYOND_SECONDS = 4.0
# Around the limit both answers are right: the last heartbeat was some tenths of a second old.
_NOISE_SECONDS = 1.0


class _Way(NamedTuple):
    """A way of being cut off."""

    name: str
    begin: Callable[[Proxy], None]
    end: Callable[[Proxy], None]


def _swallow(proxy: Proxy) -> None:
    proxy.swallows = True
    proxy.silence()


def _flow_again(proxy: Proxy) -> None:
    proxy.swallows = False
    proxy.resume()


def _refuse(proxy: Proxy) -> None:
    proxy.refuses = True
    proxy.cut()


def _accept_again(proxy: Proxy) -> None:
    proxy.refuses = False


_WAYS = (_Way("DROP", _swallow, _flow_again), _Way("REJECT", _refuse, _accept_again))


async def cut_feed(stage: Stage) -> Verdict:
    """Packets are dropped, then connections refused, for longer than a content goes on with writes."""
    verdicts = []
    async with _behind_proxies(stage) as (proxies, platform):
        async with stage.load(platform, rate=25) as load:
            for way in _WAYS:
                await load.settle()
                began = time.perf_counter()
                verdict = await _cut(stage, platform, proxies, way)
                failed = sum(one.failed for one in load.since(began) if one.kind in {"read", "page", "search", "me"})
                figure = f"{verdict.figure}, {failed} reads of the load failed" if failed else verdict.figure
                verdicts.append(Verdict(figure, bool(verdict.kept) and not failed))
        losses = await stage.check(load, platform)
    kept = all(verdict.kept for verdict in verdicts) and losses.total == 0
    return Verdict(f"{'; '.join(verdict.figure for verdict in verdicts)}; {losses}", kept)


@asynccontextmanager
async def _behind_proxies(stage: Stage) -> AsyncIterator[tuple[Sequence[Proxy], Platform]]:
    """A platform whose contents reach the internal port of each auth through a proxy of its own."""
    async with AsyncExitStack() as exits:
        proxies, addresses = [], []
        for _ in range(2):
            proxy = Proxy(free_port())
            addresses.append(f"http://127.0.0.1:{await proxy.start()}")
            exits.push_async_callback(proxy.stop)
            proxies.append(proxy)
        direct = ",".join(f"http://127.0.0.1:{proxy.target}" for proxy in proxies)
        limit = _SHORT_LIMIT_SECONDS if stage.short else _LIMIT_SECONDS
        settings = {
            "auth1": {"INTERNAL_PORT": str(proxies[0].target)},
            "auth2": {"INTERNAL_PORT": str(proxies[1].target)},
            "content": {"AUTH_INTERNAL_URL": ",".join(addresses), "REVOCATION_SILENCE_LIMIT": str(limit)},
            "gateway": {"AUTH_INTERNAL_URL": direct},
        }
        yield proxies, await exits.enter_async_context(stage.platform(settings))


class _Probes(NamedTuple):
    """At each content: reads and writes of one person, and writes of another who has logged out meanwhile."""

    reads: Sequence[Probe]
    writes: Sequence[Probe]
    revoked: Sequence[Probe]

    @classmethod
    def at(cls, ports: Sequence[int], stays: Person, leaves: Person) -> Self:
        reads = [Probe(port, get("/posts?limit=1", stays.bearer)) for port in ports]
        writes, revoked = ([Probe(port, _vote(person)) for port in ports] for person in (stays, leaves))
        return cls(reads, writes, revoked)


def _vote(person: Person) -> Request:
    """For the first post of the load; repeating it changes nothing."""
    return post("/votes", {"post_id": 1, "direction": 1}, person.bearer)


class _Moments(NamedTuple):
    """When the feed was cut, and when it was there again."""

    began: float
    ended: float


async def _cut(stage: Stage, platform: Platform, proxies: Sequence[Proxy], way: _Way) -> Verdict:
    """One person logs out while the feed is cut, so that no content knows it before the feed is back."""
    limit = _SHORT_LIMIT_SECONDS if stage.short else _LIMIT_SECONDS
    stays, leaves = await _join(platform, 2)
    probes = _Probes.at(platform.ports("content"), stays, leaves)
    async with run_probes([*probes.reads, *probes.writes]):
        await _wait_for(200, [*probes.reads, *probes.writes])
        began = _do(way.begin, proxies)
        await _log_out(platform, leaves)
        await _wait_for(503, probes.writes)
        async with run_probes(probes.revoked):
            await asyncio.sleep(max(_BEYOND_SECONDS, began + limit + _BEYOND_SECONDS - time.perf_counter()))
            ended = _do(way.end, proxies)
            await _wait_for(200, probes.writes)
            await _wait_for(401, probes.revoked)
            await asyncio.sleep(_NOISE_SECONDS)
    return _judge(way.name, probes, _Moments(began, ended), None if stage.short else limit)


def _do(step: Callable[[Proxy], None], proxies: Sequence[Proxy]) -> float:
    for proxy in proxies:
        step(proxy)
    return time.perf_counter()


async def _join(platform: Platform, count: int) -> Sequence[Person]:
    async with open_accounts(platform) as accounts:
        people = [await accounts.join() for _ in range(count)]
        for person in people:
            await accounts.sign_in(person)
        return people


async def _log_out(platform: Platform, person: Person) -> None:
    async with open_accounts(platform) as accounts:
        await accounts.log_out(person)


async def _wait_for(status: int, probes: Sequence[Probe]) -> None:
    await asyncio.gather(*(probe.wait_for(status) for probe in probes))


def _judge(name: str, probes: _Probes, moments: _Moments, limit: float | None) -> Verdict:
    """Without a limit no times are judged."""
    writes = [one for probe in probes.writes for one in probe.answers]
    refused = min(one.sent for one in writes if one.is_refusal) - moments.began
    back = max(min(one.sent for one in probe.between(moments.ended, inf) if one.reply.ok) for probe in probes.writes)
    faults = {
        "reads failed": sum(not one.reply.ok for probe in probes.reads for one in probe.answers),
        "writes neither done nor refused": sum(not (one.reply.ok or one.is_refusal) for one in writes),
        "writes of a revoked token": sum(one.reply.ok for probe in probes.revoked for one in probe.answers),
    }
    if limit is not None:
        faults["writes refused after that"] = sum(one.sent > back and not one.reply.ok for one in writes)
        faults["writes refused too early"] = sum(
            one.sent < moments.began + limit - _NOISE_SECONDS and not one.reply.ok for one in writes
        )
        until = moments.began + limit + _NOISE_SECONDS
        faults["writes accepted too late"] = sum(until < one.sent < moments.ended and one.reply.ok for one in writes)
    figure = f"{name}: writes refused after {seconds(refused)}, accepted {seconds(back - moments.ended)} after the feed"
    found = ", ".join(f"{count} {fault}" for fault, count in faults.items() if count)
    return Verdict(figure + (f", {found}" if found else ", 0 reads failed"), kept=not found)
