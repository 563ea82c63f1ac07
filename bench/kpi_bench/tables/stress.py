"""What clients see, second by second, while a component of the platform fails."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

from kpi_bench import plots as plot
from kpi_bench.harness import figures, markdown_table, report, spread
from kpi_bench.options import Options
from kpi_bench.outage_client import OutageClient, Outcome, Response, get, post_form
from kpi_bench.platform_stack import POSTS, Accounts, Database, Stack, open_loaded_database
from kpi_bench.processes import LOAD_CORE, BenchError, Program, Server, free_port
from kpi_bench.tables.limits import measure_hashes

NAME = "stress"
READS_A_SECOND = 100
# Seconds from the beginning: when the disturbance begins, and when it ends.
GONE, BACK = 4.0, 8.0
_SECONDS = 16.0
# The storm's sign-ins per second, as a multiple of what can be hashed.
STORM = 5
_ACCOUNTS = 40
_STORM, _UPSTREAM, _POSTGRES, _REDIS = "sign-in storm", "content killed", "PostgreSQL restarted", "Redis cut off"


@dataclass
class Scene:
    """The objects that a scenario works with."""

    stack: Stack
    options: Options
    storm: OutageClient
    sign_ins: Sequence[bytes]
    storm_rate: float = 0.0
    redis: "Redis | None" = None


class Redis:
    """A Redis server that writes nothing to disk."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.port = free_port()
        self._server: Server | None = None

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._server = Server(Program(command, folder=self._options.work), self._options.log("redis"))

    def kill(self) -> None:
        if self._server is not None:
            self._server.kill()
            self._server.stop()


# An action may return before its effect is complete: the reads do not wait for it.
Act = Callable[[Scene], Awaitable[None]]


async def _do_nothing(_scene: Scene) -> None:
    return


async def _start_storm(scene: Scene) -> None:
    began = time.perf_counter()
    await scene.storm.run(scene.sign_ins, rate=scene.storm_rate, seconds=BACK - GONE, begun=began)


async def _kill_content(scene: Scene) -> None:
    scene.stack.servers["content"].kill()


async def _start_content(scene: Scene) -> None:
    await asyncio.to_thread(scene.stack.servers["content"].stop)
    scene.stack.start_part("content")


async def _stop_postgres(scene: Scene) -> None:
    await asyncio.to_thread(scene.stack.database.stop)


async def _start_postgres(scene: Scene) -> None:
    await asyncio.to_thread(scene.stack.database.start)


async def _kill_redis(scene: Scene) -> None:
    if scene.redis is not None:
        await asyncio.to_thread(scene.redis.kill)


async def _start_redis(scene: Scene) -> None:
    if scene.redis is not None:
        await asyncio.to_thread(scene.redis.start)


SCENARIOS: dict[str, tuple[Act, Act]] = {
    _STORM: (_start_storm, _do_nothing),
    _UPSTREAM: (_kill_content, _start_content),
    _POSTGRES: (_stop_postgres, _start_postgres),
    _REDIS: (_kill_redis, _start_redis),
}


def run(options: Options) -> dict[str, Any]:
    with open_loaded_database(options) as database, _pin_to_load_core():
        capacity = measure_hashes(min(options.seconds, 2.0))["rate"]
        database.start()
        found = {}
        for name in SCENARIOS:
            with _run_stack(database, options, redis=name == _REDIS) as (stack, redis):
                accounts = Accounts(stack.url("auth"), _ACCOUNTS)
                scene = Scene(stack, options, OutageClient(""), _sign_ins(accounts), STORM * capacity, redis)
                found[name] = [_run_round(scene, name, number) for number in range(options.rounds)]
    return {"capacity": capacity, "rounds": found}


@contextmanager
def _pin_to_load_core() -> Iterator[None]:
    """This process generates the load, so it runs on the same core as wrk."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {LOAD_CORE})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _run_stack(database: Database, options: Options, *, redis: bool) -> Iterator[tuple[Stack, Redis | None]]:
    server = Redis(options) if redis else None
    settings = _limit_settings(server) if server else {}
    stack = Stack(database, options, gateway=settings)
    try:
        if server:
            server.start()
        stack.start()
        yield stack, server
    finally:
        stack.stop()
        database.drop(Stack.AUTH, Stack.CONTENT)
        if server:
            server.kill()


def _limit_settings(redis: Redis) -> Mapping[str, str]:
    """Limits that count every request, but are too high to be reached."""
    return {"RATE_LIMIT_ENABLED": "true", "RATE_LIMIT_STORAGE_URL": f"redis://127.0.0.1:{redis.port}/0"}


def _sign_ins(accounts: Accounts) -> list[bytes]:
    return [post_form("/api/v1/auth/login", f"username={name}&password={Accounts.PASSWORD}") for name in accounts.names]


def _run_round(scene: Scene, name: str, number: int) -> dict[str, Any]:
    # Wait until pools and caches are warm, and all that the previous round stopped runs again.
    for part in ("content", "gateway"):
        scene.stack.wait_for(part)
    reads, scene.storm = OutageClient(scene.stack.url("gateway")), OutageClient(scene.stack.url("gateway"))
    asyncio.run(_run_scenario(scene, reads, *SCENARIOS[name]))
    found = {**summarise(reads.responses), "storm": _outcomes(scene.storm.responses)}
    report(
        f"{name}, round {number + 1}: {found['outcomes']}, outage {found['outage']:.2f} s; "
        f"recovery {found['recovery']:.2f} s after the restart; storm {found['storm']}"
    )
    return found


async def _run_scenario(scene: Scene, reads: OutageClient, gone: Act, back: Act) -> None:
    begun = time.perf_counter()
    requests = [get(f"/api/v1/posts/{number * 37 % POSTS + 1}") for number in range(1000)]
    async with asyncio.TaskGroup() as group:
        group.create_task(reads.run(requests, rate=READS_A_SECOND, seconds=_SECONDS, begun=begun))
        group.create_task(_act_at(begun + GONE, gone, scene))
        group.create_task(_act_at(begun + BACK, back, scene))


async def _act_at(moment: float, act: Act, scene: Scene) -> None:
    await asyncio.sleep(max(0.0, moment - time.perf_counter()))
    await act(scene)


def summarise(responses: Sequence[Response]) -> dict[str, Any]:
    """The seconds one by one; how long reads failed; and how long after the restart the last one failed."""
    bad = [response.due for response in responses if response.outcome is not Outcome.OK]
    if len(responses) < READS_A_SECOND:
        raise BenchError(f"only {len(responses)} reads were made")
    return {
        "outcomes": _outcomes(responses),
        "outage": max(bad) - min(bad) if bad else 0.0,
        "recovery": max(0.0, max(bad) - BACK) if bad else 0.0,
        "seconds": [_second(responses, second) for second in range(int(_SECONDS))],
    }


def _second(responses: Sequence[Response], second: int) -> dict[str, Any]:
    within = [response for response in responses if int(response.due) == second]
    times = [response.took * 1000 for response in within]
    wrong = sum(response.outcome is not Outcome.OK for response in within)
    p99 = quantiles(times, n=100)[98] if len(times) > 1 else 0.0
    return {"errors": wrong / max(1, len(within)), "p99": p99, **_outcomes(within)}


def _outcomes(responses: Sequence[Response]) -> dict[str, int]:
    return {outcome.value: sum(response.outcome is outcome for response in responses) for outcome in Outcome}


def render(results: dict[str, Any], plots: Path) -> str:
    rounds: dict[str, list[dict[str, Any]]] = results["rounds"]
    _plot(rounds, plots)
    head = ["", "failed reads", "refused with `Retry-After`", "first to last failure, s", "recovery after restart, s"]
    head += ["p99 before, ms", "p99 during, ms"]
    table = markdown_table(head, [_row(name, found) for name, found in rounds.items()])
    text = _TEXT.format(
        rate=READS_A_SECOND, gone=GONE, back=BACK, seconds=_SECONDS, storm=STORM, capacity=results["capacity"]
    )
    return "\n\n".join([text, table, _storm_summary(rounds[_STORM]), *_PICTURES])


def _row(name: str, found: list[dict[str, Any]]) -> list[str]:
    outcomes = [one["outcomes"] for one in found]
    failed = [float(one["failed"] + one["lost"]) for one in outcomes]
    before, meanwhile = ([max(_p99s(one, when)) for one in found] for when in (range(1, int(GONE)), _MEANWHILE))
    return [
        name,
        spread(failed),
        spread(figures(outcomes, "refused")),
        spread(figures(found, "outage"), 2),
        spread(figures(found, "recovery"), 2),
        spread(before, 1),
        spread(meanwhile, 1),
    ]


_MEANWHILE = range(int(GONE), int(BACK))


def _p99s(found: dict[str, Any], seconds: range) -> list[float]:
    return [found["seconds"][second]["p99"] for second in seconds]


def _storm_summary(found: list[dict[str, Any]]) -> str:
    storms = [one["storm"] for one in found]
    return (
        f"Of the storm's sign-ins {spread(figures(storms, 'ok'))} succeeded, {spread(figures(storms, 'refused'))} were "
        f"refused with a 503 and `Retry-After`, and "
        f"{spread([float(one['failed'] + one['lost']) for one in storms])} failed in any other way."
    )


def _plot(rounds: dict[str, list[dict[str, Any]]], folder: Path) -> None:
    for kind, label, factor in (("errors", "reads that failed, %", 100.0), ("p99", "p99 of reads, ms", 1.0)):
        series = {name: _medians(found, kind, factor) for name, found in rounds.items()}
        plot.lines(folder / f"stress-{kind}.svg", series, labels=("seconds", label))


def _medians(found: list[dict[str, Any]], kind: str, factor: float) -> list[tuple[float, float]]:
    """The median of the rounds for each second."""
    seconds = range(len(found[0]["seconds"]))
    values = [sorted(one["seconds"][second][kind] * factor for one in found) for second in seconds]
    return [(second, each[len(each) // 2]) for second, each in zip(seconds, values, strict=True)]


_PICTURES = (
    "![Failed reads by second](performance/stress-errors.svg)",
    "![p99 of the reads by second](performance/stress-p99.svg)",
)

_TEXT = """\
## Under stress

{rate} reads of single posts a second through the gateway for {seconds:g} s, each started on time even if others are
open. A disturbance begins after {gone:g} s and ends after {back:g} s. There are four: a storm of sign-ins, {storm}
times what the core can hash ({capacity:.0f} a second); the content service, killed by SIGKILL and started again;
PostgreSQL, stopped by its fast shutdown and started again; and the Redis that stores the gateway's rate limits, killed
and started again. Recovery includes the whole start of the program."""
