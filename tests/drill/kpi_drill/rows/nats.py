"""The NATS server to which auth's events go is down, while people sign in and out."""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Sequence

import nats
from kpi_shared.testing.nats_server import Broker, run_broker

from kpi_drill.load import Load, Sample
from kpi_drill.stage import Stage
from kpi_drill.verdict import Verdict, failed_share, milliseconds, p50, p99, percent, seconds

_STREAM = "KPI_EVENTS"
_DOWN_SECONDS = 120.0
# The first part of the time the server stands still, and the rest it is gone.
_FROZEN_SHARE = 0.25
# Before and after, so that a machine that gets slower or faster is no difference.
_UP_SECONDS = 60.0
_SHORT_SECONDS = 4.0
_CAUGHT_UP_SECONDS = 60.0
_OF_AUTH = {"me", "refresh", "refused", "register", "login", "logout"}
# The p99 of so few requests differs from one time to the next.
_ALLOWED_RATIO = 1.25
_NOISE_SECONDS = 0.01
_ALLOWED_FAILURES = 0.001


async def be_down(stage: Stage) -> Verdict:
    """It stands still, then it is killed, and comes back after two minutes."""
    up, down = (_SHORT_SECONDS, _SHORT_SECONDS) if stage.short else (_UP_SECONDS, _DOWN_SECONDS)
    with run_broker(stage.folder / f"nats-{time.monotonic_ns()}") as broker:
        settings = {"auth": {"EVENTS_NATS_URL": broker.url}}
        async with stage.platform(settings) as platform:
            async with stage.load(platform) as load:
                await load.settle()
                before = await load.rest(up)
                meanwhile = await _measure_without(broker, load, down)
                await asyncio.to_thread(broker.start)
                after = await load.rest(up)
            began = time.monotonic()
            missing, disordered = await _wait_until_complete(stage, broker)
            caught_up = time.monotonic() - began
            losses = await stage.check(load, platform)
    verdict = _judge(stage, [*before, *after], meanwhile)
    figure = (
        f"{missing} lost, {disordered} out of order, complete {seconds(caught_up)} after the load; {verdict.figure}"
    )
    kept = bool(verdict.kept) and missing == disordered == losses.total == 0
    return Verdict(f"{figure}; {losses}", kept)


async def _measure_without(broker: Broker, load: Load, down: float) -> Sequence[Sample]:
    began = time.perf_counter()
    with broker.suspend():
        await asyncio.sleep(down * _FROZEN_SHARE)
        await asyncio.to_thread(broker.kill)
    await asyncio.sleep(began + down - time.perf_counter())
    return load.since(began)


def _judge(stage: Stage, up: Sequence[Sample], down: Sequence[Sample]) -> Verdict:
    up = [one for one in up if one.kind in _OF_AUTH]
    down = [one for one in down if one.kind in _OF_AUTH]
    usual, late = p99(up), p99(down)
    failed_usually, failed = failed_share(up), failed_share(down)
    figure = (
        f"auth's p99 {milliseconds(usual)} with NATS ({len(up)} requests), {milliseconds(late)} without ({len(down)}): "
        f"{late / max(usual, 1e-9):.2f} times, p50 {p50(down) / max(p50(up), 1e-9):.2f} times, "
        f"{percent(failed_usually)} and {percent(failed)} failed"
    )
    is_unchanged = late <= max(_ALLOWED_RATIO * usual, usual + _NOISE_SECONDS)
    return Verdict(figure, stage.short or (is_unchanged and failed <= failed_usually + _ALLOWED_FAILURES))


async def _wait_until_complete(stage: Stage, broker: Broker) -> tuple[int, int]:
    """How many events are not in the stream after some time, and how many came after a later one of their account."""
    deadline = time.monotonic() + _CAUGHT_UP_SECONDS
    while True:
        stored = await asyncio.to_thread(_stored, stage)
        arrived = await _read(broker)
        missing = len(stored - {seq for seq, _ in arrived})
        if (not missing and stored) or time.monotonic() > deadline:
            return missing + (not stored), _count_disordered(arrived)
        await asyncio.sleep(0.5)


def _stored(stage: Stage) -> set[int | None]:
    """None stands for events that have no place in the order yet."""
    with stage.server.connect("drill_auth") as connection:
        return {row[0] for row in connection.execute("SELECT seq FROM events")}


async def _read(broker: Broker) -> list[tuple[int, int | None]]:
    """The place and the account of each event in the stream."""
    connection = await nats.connect(broker.url)
    try:
        stream = connection.jetstream()
        last = (await stream.stream_info(_STREAM)).state.last_seq
        bodies = [json.loads((await stream.get_msg(_STREAM, place)).data or b"") for place in range(1, last + 1)]
    finally:
        await connection.close()
    return [(body["seq"], body["account_id"]) for body in bodies]


def _count_disordered(arrived: Sequence[tuple[int, int | None]]) -> int:
    newest: defaultdict[int | None, int] = defaultdict(int)
    count = 0
    for seq, account in arrived:
        count += seq < newest[account]
        newest[account] = max(newest[account], seq)
    return count
