"""The database is silent, locked, read-only or changed under the running platform."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from kpi_drill.load import Sample
from kpi_drill.platform import Platform
from kpi_drill.proxy import Proxy
from kpi_drill.stage import Stage
from kpi_drill.verdict import Verdict, failed_share, p99, percent, seconds

# How long the database is silent, or the table locked.
_FAULT_SECONDS = 10.0
_SHORT_SECONDS = 4.0
_OBSERVED_SECONDS = 30.0
# The bar of 2.5 s, with 10 % for a machine on which the drill itself runs too.
_DEADLINE = 2.75
# Below this, two times are the same on a busy machine.
_NOISE_SECONDS = 0.03


@asynccontextmanager
async def behind_proxy(stage: Stage) -> AsyncIterator[tuple[Proxy, Platform]]:
    """A platform whose services reach the database through one proxy."""
    proxy = Proxy(stage.server.port)
    port = await proxy.start()
    try:
        async with stage.platform(database_ports=lambda _: (port,)) as platform:
            yield proxy, platform
    finally:
        await proxy.stop()


async def silence_connections(stage: Stage) -> Verdict:
    """Established connections go silent, while new ones work."""
    async with behind_proxy(stage) as (proxy, platform):
        async with stage.load(platform) as load:
            await load.settle()
            began = time.perf_counter()
            proxy.silence()
            healthy = await load.wait_until_healthy(_OBSERVED_SECONDS)
            if not stage.short:
                await asyncio.sleep(began + _OBSERVED_SECONDS - time.perf_counter())
            proxy.cut()
        losses = await stage.check(load, platform)
    recovery, share = load.recovery(began), failed_share(load.since(began, began + _OBSERVED_SECONDS))
    how = f"healthy after {seconds(recovery)}" if healthy else f"not healthy for {seconds(_OBSERVED_SECONDS)}"
    kept = healthy and (stage.short or (recovery <= 5 and share <= 0.05)) and losses.total == 0
    return Verdict(f"{how}, {percent(share)} failed, {losses}", kept)


async def be_silent(stage: Stage) -> Verdict:
    """Nothing of the database answers: packets are dropped, connections refused, its processes frozen."""
    verdicts = []
    async with behind_proxy(stage) as (proxy, platform):
        async with stage.load(platform) as load:
            for name, begin, end in _silences(stage, proxy):
                await load.settle()
                began = time.perf_counter()
                begin()
                await asyncio.sleep(_SHORT_SECONDS if stage.short else _FAULT_SECONDS)
                ended = time.perf_counter()
                end()
                await load.wait_until_healthy(_OBSERVED_SECONDS)
                verdicts.append(judge_answers(name, load.since(began, ended)))
        losses = await stage.check(load, platform)
    kept = all(verdict.kept for verdict in verdicts) and losses.total == 0
    return Verdict(f"{'; '.join(verdict.figure for verdict in verdicts)}; {losses}", kept)


def _silences(stage: Stage, proxy: Proxy) -> list[tuple[str, Callable[[], None], Callable[[], None]]]:
    def swallow() -> None:
        proxy.swallows = True
        proxy.silence()

    def flow_again() -> None:
        proxy.swallows = False
        proxy.resume()

    def refuse() -> None:
        proxy.refuses = True
        proxy.cut()

    def accept_again() -> None:
        proxy.refuses = False

    return [
        ("DROP", swallow, flow_again),
        ("REJECT", refuse, accept_again),
        ("SIGSTOP", stage.server.freeze, stage.server.thaw),
    ]


def judge_answers(name: str, samples: Sequence[Sample]) -> Verdict:
    """What fails has to be a 503 with Retry-After, in time."""
    failed = [one for one in samples if one.failed]
    others = sum(one.reply.status != 503 or not one.reply.has_retry_after for one in failed)
    slowest = max((one.reply.took for one in samples), default=0.0)
    figure = f"{name}: answers within {seconds(slowest)}"
    if others:
        figure += f", {others} of {len(failed)} failures not 503 with `Retry-After`"
    return Verdict(figure, slowest <= _DEADLINE and not others and bool(failed))


async def lock_table(stage: Stage) -> Verdict:
    """Another session holds a lock on the votes: they are refused in time, and nothing else waits."""
    async with stage.platform() as platform:
        async with stage.load(platform) as load:
            await load.settle()
            idle = [one for one in await load.rest(_FAULT_SECONDS) if one.kind != "vote"]
            began = time.perf_counter()
            await asyncio.to_thread(_hold_lock, stage)
            ended = time.perf_counter()
            await load.wait_until_healthy(_OBSERVED_SECONDS)
        losses = await stage.check(load, platform)
    meanwhile = load.since(began, ended)
    verdict = judge_answers("votes", [one for one in meanwhile if one.kind == "vote"])
    others = [one for one in meanwhile if one.kind != "vote"]
    before, during, failed = p99(idle), p99(others), sum(one.failed for one in others)
    figure = f"{verdict.figure}; others' p99 {before * 1000:.0f} to {during * 1000:.0f} ms, {failed} failed; {losses}"
    in_time = during <= max(2 * before, _NOISE_SECONDS)
    return Verdict(figure, bool(verdict.kept) and in_time and not failed and losses.total == 0)


def _hold_lock(stage: Stage) -> None:
    with stage.server.connect("drill_content") as connection, connection.transaction():
        connection.execute("LOCK TABLE votes IN ACCESS EXCLUSIVE MODE")
        time.sleep(_FAULT_SECONDS)


async def widen_column(stage: Stage) -> Verdict:
    """A migration changes a column's type: every prepared statement that returns it is stale."""
    async with stage.platform() as platform:
        async with stage.load(platform) as load:
            await load.settle()
            began = time.perf_counter()
            statement = "ALTER TABLE authors ALTER COLUMN username TYPE varchar(255)"
            await asyncio.to_thread(stage.server.query, "drill_content", statement)
            statement = "ALTER TABLE users ALTER COLUMN username TYPE varchar(255)"
            await asyncio.to_thread(stage.server.query, "drill_auth", statement)
            await asyncio.sleep(_SHORT_SECONDS if stage.short else _FAULT_SECONDS)
        losses = await stage.check(load, platform)
    samples = load.since(began)
    failed = sum(one.is_broken if stage.short else one.failed for one in samples)
    return Verdict(f"{failed} of {len(samples)} failed, {losses}", failed == 0 and losses.total == 0)


async def be_read_only(stage: Stage) -> Verdict:
    """The server accepts no writes, as an old primary after a failover, and keeps its connections."""
    async with stage.platform() as platform:
        async with stage.load(platform) as load:
            await load.settle()
            began = time.perf_counter()
            await asyncio.to_thread(_set_read_only, stage, "on")
            await asyncio.sleep(_SHORT_SECONDS)
            ended = time.perf_counter()
            await asyncio.to_thread(_set_read_only, stage, "off")
            healthy = await load.wait_until_healthy(_OBSERVED_SECONDS)
        losses = await stage.check(load, platform)
    samples = load.since(began, ended)
    verdict = judge_answers("read-only", samples)
    back = f"writes again after {seconds(max(0.0, load.recovery(ended)))}" if healthy else "no writes again"
    kept = not any(one.is_broken for one in samples) if stage.short else bool(verdict.kept)
    return Verdict(f"{verdict.figure}; {back}; {losses}", kept and healthy and losses.total == 0)


def _set_read_only(stage: Stage, value: str) -> None:
    with stage.server.connect() as connection:
        connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}".encode())
        connection.execute("SELECT pg_reload_conf()")
