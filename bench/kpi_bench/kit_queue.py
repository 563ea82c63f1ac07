"""What the kit's queue costs over procrastinate called directly, and 10,000 jobs whose workers are killed."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from kpi_bench.harness import Measure, figures, markdown_table, ratios, run_in_turn, spread, verdict
from kpi_bench.options import REPOSITORY, Options
from kpi_bench.processes import BenchError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_MOST = 1.15
_LIBRARY, _KIT = "procrastinate: ", "the kit: "
_PUSH, _RUN = "push", "run a job"
_TURNS, _WARM_UP = 8, 20
_JOBS, _CONCURRENCY = 300, 10
_DRILL = REPOSITORY / "kit" / "tests" / "queue_drill.py"
_DRILL_JOBS, _DRILL_KILLS = 10_000, 40

# Pushes one job; and runs so many jobs that wait, and returns when the last one has ended.
Push = Callable[[], Awaitable[object]]
Consume = Callable[[int], Awaitable[None]]
Opened = AbstractAsyncContextManager[tuple[Push, Consume]]


def run(options: Options) -> dict[str, Any]:
    # Imported here, as all parts below: the document is rendered where they may not be installed.
    from kpi_shared.testing.postgres import URL_VARIABLE, TestServer, create_database  # noqa: PLC0415

    server = TestServer()
    os.environ[URL_VARIABLE] = server.url
    try:
        openers = {
            _LIBRARY: partial(_open_procrastinate, create_database("bench_procrastinate")),
            _KIT: partial(_open_kit, create_database("bench_kit")),
        }
        contenders: dict[str, Measure] = {}
        for what, measure in ((_PUSH, _measure_push), (_RUN, _measure_run)):
            contenders |= {owner + what: partial(_start, measure, opener) for owner, opener in openers.items()}
        for opener in openers.values():
            asyncio.run(_prepare(opener))
        # Short turns: what else the machine does then meets both sides of a ratio.
        turns = replace(options, rounds=options.rounds * _TURNS, seconds=options.seconds / _TURNS)
        rounds = run_in_turn(contenders, turns, what="queue")
        return {"rounds": rounds, "drill": _drill(create_database("bench_drill"))}
    finally:
        server.stop()
        del os.environ[URL_VARIABLE]


def _start(measure: Callable[[Opened, float], Any], opener: Callable[[], Opened], seconds: float) -> dict[str, float]:
    found: dict[str, float] = asyncio.run(measure(opener(), seconds))
    return found


async def _prepare(opener: Callable[[], Opened]) -> None:
    """A first use, with which the schema is made."""
    async with opener() as (push, consume):
        await push()
        await consume(1)


async def _measure_push(opened: Opened, seconds: float) -> dict[str, float]:
    async with opened as (push, consume):
        # Connects, and lets the driver prepare the statement.
        for _ in range(_WARM_UP):
            await push()
        calls, began, cpu = 0, time.perf_counter(), time.process_time()
        while time.perf_counter() - began < seconds:
            await push()
            calls += 1
        found = _per_call(calls, time.perf_counter() - began, time.process_time() - cpu)
        await consume(calls + _WARM_UP)
    return found


async def _measure_run(opened: Opened, seconds: float) -> dict[str, float]:
    """Of batches of jobs that wait when the worker starts; what pushes them is not counted."""
    calls, taken, cpu = 0, 0.0, 0.0
    async with opened as (push, consume):
        while taken < seconds:
            for _ in range(_JOBS):
                await push()
            began, began_cpu = time.perf_counter(), time.process_time()
            await consume(_JOBS)
            taken, cpu = taken + time.perf_counter() - began, cpu + time.process_time() - began_cpu
            calls += _JOBS
    return _per_call(calls, taken, cpu)


def _per_call(calls: int, seconds: float, cpu: float) -> dict[str, float]:
    return {"us": 1e6 * seconds / calls, "cpu": 1e6 * cpu / calls, "per_second": calls / seconds}


class _Countdown:
    """Ends when so many jobs have run."""

    def __init__(self) -> None:
        self.left = 0
        self.done = asyncio.Event()

    def begin(self, number: int) -> None:
        self.left = number
        self.done.clear()

    def count(self) -> None:
        self.left -= 1
        if not self.left:
            self.done.set()


@asynccontextmanager
async def _open_procrastinate(url: str) -> "AsyncIterator[tuple[Push, Consume]]":
    """With the kit's settings of connections, which are faster than the default of a transaction for each statement."""
    import procrastinate  # noqa: PLC0415

    connector = procrastinate.PsycopgConnector(conninfo=url, min_size=1, max_size=4, configure=_use_autocommit)
    app, countdown = procrastinate.App(connector=connector), _Countdown()

    @app.task(name="Note", queue="default")
    async def note(text: str) -> None:  # noqa: ARG001 as in the kit's job
        countdown.count()

    async def consume(number: int) -> None:
        countdown.begin(number)
        worker = asyncio.create_task(
            app.run_worker_async(concurrency=_CONCURRENCY, delete_jobs="successful", install_signal_handlers=False)
        )
        await countdown.done.wait()
        worker.cancel()
        await asyncio.wait([worker])

    async with app.open_async():
        if not await app.check_connection_async():
            await app.schema_manager.apply_schema_async()
        yield lambda: note.defer_async(text="x" * 100), consume


async def _use_autocommit(connection: Any) -> None:  # noqa: ANN401 psycopg is imported later
    await connection.set_autocommit(True)


@asynccontextmanager
async def _open_kit(url: str) -> "AsyncIterator[tuple[Push, Consume]]":
    import psycopg  # noqa: PLC0415
    from kpi_kit.queue import Job, Queue, Run  # noqa: PLC0415
    from kpi_kit.queue.schema import upgrade_sql  # noqa: PLC0415

    with psycopg.connect(url) as connection:
        if connection.execute("SELECT to_regnamespace('kpi_queue')").fetchone() == (None,):
            connection.execute(upgrade_sql())

    class Note(Job):
        text: str

    countdown = _Countdown()

    async def handle(_job: Note, _run: Run) -> None:
        countdown.count()

    async def consume(number: int) -> None:
        countdown.begin(number)
        async with queue.work(concurrency=_CONCURRENCY):
            await countdown.done.wait()

    queue = Queue.from_url(url)
    queue.handle(Note, handle)
    async with queue:
        yield lambda: queue.push(Note(text="x" * 100)), consume


def _drill(url: str) -> dict[str, float]:
    options = {"url": url, "jobs": _DRILL_JOBS, "kills": _DRILL_KILLS, "lost-after": 3}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    result = subprocess.run([sys.executable, str(_DRILL), *words], capture_output=True, text=True, check=False)
    if result.returncode:
        raise BenchError(f"the drill of the queue ended with exit code {result.returncode}: {result.stderr[-500:]}")
    found: dict[str, float] = json.loads(result.stdout)
    return found


def render(results: dict[str, Any]) -> str:
    head = ["the queue", "us per job", "CPU of the process, us", "jobs/s", "the kit : procrastinate", "target", ""]
    rounds = results["rounds"]
    table = markdown_table(head, [_render_row(name, rounds) for name in rounds])
    return f"{_TEXT}\n\n{table}\n\n{_render_drill(results['drill'])}"


def _render_row(name: str, rounds: dict[str, Any]) -> list[str]:
    cells = [name, *(spread(figures(rounds[name], figure)) for figure in ("us", "cpu", "per_second"))]
    what = name.removeprefix(_KIT)
    if what == name:
        return [*cells, "", "", ""]
    found = ratios(figures(rounds[name], "us"), figures(rounds[_LIBRARY + what], "us"))
    return [*cells, spread(found, 2), f"at most {_MOST:g}", verdict(found, _MOST, most=True)]


def _render_drill(drill: dict[str, float]) -> str:
    head = [
        "jobs",
        "workers killed (SIGKILL)",
        "lost",
        "ran more than once",
        "effects twice",
    ]
    again = drill["repeated"] + drill["once_ran_again"]
    lost = drill["lost"] + drill["once_lost"] + drill["left"] + drill["failed"]
    row = [f"{value:,.0f}" for value in (drill["jobs"], drill["kills"], lost, again, drill["once_repeated"])]
    return f"{_DRILL_TEXT}\n\n{markdown_table(head, [row])}"


_TEXT = """\
### The queue

The same job of 100 bytes, in a PostgreSQL without fsync, so that the disk does not hide what the process does. One
caller pushes one job after another; a worker runs ten at once, from its start to the end of the last of 300 that wait.
procrastinate has the kit's settings of connections."""
_DRILL_TEXT = """\
Three worker processes, one of which is killed again and again while it runs jobs. Half of the jobs are pushed twice
with their key while none has started, and write their effect in the transaction that ends them."""
