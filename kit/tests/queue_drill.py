"""Workers of the queue that are killed at random: ``python kit/tests/queue_drill.py --jobs 10000``.

Each run is noted when it begins. A ``Plain`` job does no more; a ``Once`` job writes its effect in the transaction that
ends it, and is pushed twice with its key while none runs.
"""

import argparse
import asyncio
import json
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from subprocess import Popen

import psycopg
from kpi_kit.libpq import read_parameters
from kpi_kit.queue import Job, Queue, Retry, Run
from kpi_kit.queue.programs import run_worker
from kpi_kit.queue.schema import upgrade_sql
from psycopg_pool import AsyncConnectionPool

# A job may lose several workers here.
_RETRY = Retry(attempts=30, first=timedelta(milliseconds=100), factor=1)
_TABLES = """
CREATE TABLE runs (number int NOT NULL);
CREATE TABLE once_runs (number int NOT NULL);
CREATE TABLE effects (number int NOT NULL);
"""
_BATCH = 100


class Plain(Job, retry=_RETRY):
    number: int


class Once(Job, retry=_RETRY):
    number: int


@dataclass(frozen=True)
class Plan:
    """``seed`` decides after which numbers of finished jobs a worker is killed."""

    url: str
    jobs: int
    workers: int = 3
    kills: int = 6
    seed: int = 1
    lost_after: float = 2

    @property
    def queue_url(self) -> str:
        return f"{self.url}{'&' if '?' in self.url else '?'}lost_after={self.lost_after}&poll=0.2"


@dataclass(frozen=True)
class Outcome:
    """``repeated``: jobs that ran more than once; ``kept``: pushes of a key that gave the job that waited."""

    jobs: int
    kills: int
    lost: int
    repeated: int
    once_ran_again: int
    once_lost: int
    once_repeated: int
    kept: int
    failed: int
    left: int
    seconds: float


async def drill(plan: Plan) -> Outcome:
    with psycopg.connect(plan.url, autocommit=True) as connection:
        connection.execute(upgrade_sql())
        connection.execute(_TABLES)
    async with Queue.from_url(plan.queue_url) as queue:
        numbers = range(plan.jobs // 2)
        began = time.perf_counter()
        kept = await _push_once_jobs(queue, numbers)
        with _start_workers(plan) as workers:
            for first in range(0, len(numbers), _BATCH):
                await queue.push_all([Plain(number=number) for number in numbers[first : first + _BATCH]])
            await _kill(plan, workers, queue)
            await _until_left(queue, 0, workers)
        seconds = time.perf_counter() - began
        left, failed = await _count_left(queue), len(await queue.failed())
    runs, once_runs, effects = (_count(plan.url, table) for table in ("runs", "once_runs", "effects"))
    return Outcome(
        jobs=2 * len(numbers),
        kills=plan.kills,
        lost=sum(number not in runs for number in numbers),
        repeated=sum(count > 1 for count in runs.values()),
        once_ran_again=sum(count > 1 for count in once_runs.values()),
        once_lost=sum(number not in effects for number in numbers),
        once_repeated=sum(count > 1 for count in effects.values()),
        kept=kept,
        failed=failed,
        left=left,
        seconds=seconds,
    )


async def _push_once_jobs(queue: Queue, numbers: range) -> int:
    kept = 0
    for number in numbers:
        first = await queue.push(Once(number=number), unique=str(number))
        second = await queue.push(Once(number=number), unique=str(number))
        kept += first.is_new and second.id == first.id and not second.is_new
    return kept


@contextmanager
def _start_workers(plan: Plan) -> Iterator[list[Popen[bytes]]]:
    workers = [_start_worker(plan.queue_url) for _ in range(plan.workers)]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait(30)


def _start_worker(url: str) -> Popen[bytes]:
    return Popen([sys.executable, __file__, "--work", url])


async def _kill(plan: Plan, workers: list[Popen[bytes]], queue: Queue) -> None:
    """SIGKILL the one that has worked for longest, and start another."""
    chance = random.Random(plan.seed)
    for left in sorted((chance.randrange(plan.jobs // 10, plan.jobs) for _ in range(plan.kills)), reverse=True):
        await _until_left(queue, left, workers)
        victim = workers.pop(0)
        victim.kill()
        victim.wait()
        workers.append(_start_worker(plan.queue_url))


async def _until_left(queue: Queue, number: int, workers: list[Popen[bytes]]) -> None:
    while await _count_left(queue) > number:
        assert all(worker.poll() is None for worker in workers), "a worker has ended by itself"
        await asyncio.sleep(0.02)


async def _count_left(queue: Queue) -> int:
    return sum(each.waiting + each.scheduled + each.running for each in await queue.status())


def _count(url: str, table: str) -> dict[int, int]:
    with psycopg.connect(url) as connection:
        return dict(connection.execute(f"SELECT number, count(*) FROM {table} GROUP BY number").fetchall())  # noqa: S608


async def _work(url: str) -> None:
    """A worker whose jobs take up to 20 ms. The queue has options in its URL that libpq does not know."""
    database = url[: url.index("lost_after") - 1]
    queue = Queue.from_url(url)
    async with AsyncConnectionPool(kwargs=read_parameters(database, {}), min_size=2, max_size=8, open=False) as pool:

        async def note(table: str, number: int) -> None:
            async with pool.connection() as connection:
                await connection.execute(f"INSERT INTO {table} VALUES (%s)", [number])  # noqa: S608

        async def run_plain(job: Plain, _run: Run) -> None:
            await note("runs", job.number)
            await asyncio.sleep(random.uniform(0, 0.02))

        async def run_once(job: Once, run: Run) -> None:
            await note("once_runs", job.number)
            async with pool.connection() as connection:
                await connection.execute("INSERT INTO effects VALUES (%s)", [job.number])
                await asyncio.sleep(random.uniform(0, 0.02))
                await run.finish(connection=connection)

        queue.handle(Plain, run_plain)
        queue.handle(Once, run_once)
        async with queue:
            await run_worker(queue, concurrency=8)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", metavar="URL")
    for name in ("url", "jobs", "workers", "kills", "seed", "lost_after"):
        kind = Plan.__annotations__[name]
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=getattr(Plan, name, None))
    options = vars(parser.parse_args())
    if url := options.pop("work"):
        asyncio.run(_work(url))
    else:
        sys.stdout.write(json.dumps(asdict(asyncio.run(drill(Plan(**options))))) + "\n")


if __name__ == "__main__":
    main()
