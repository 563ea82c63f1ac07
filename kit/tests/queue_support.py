"""Jobs, handlers and databases for the tests of the queue."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import psycopg
from kpi_kit.queue import Job, Queue, QueueError, QueueFake, Retry, Run
from kpi_kit.queue.schema import upgrade_sql
from pydantic import Field

AT_ONCE = timedelta(milliseconds=1)


class Note(Job):
    text: str


class Flaky(Job, retry=Retry(attempts=3, first=AT_ONCE)):
    text: str


class Hopeless(Job, retry=Retry(attempts=5, first=AT_ONCE, never_after=(LookupError, QueueError))):
    text: str


class Urgent(Job, priority=10):
    text: str


class Slow(Job, timeout=timedelta(milliseconds=50), retry=Retry(attempts=1)):
    text: str


class Aliased(Job):
    number: float | None = Field(alias="x")

    @property
    def text(self) -> str:
        return str(self.number)


class Recorder:
    """A handler that notes each run, fails as often as it is asked to, and can be held."""

    def __init__(self, *, failures: int = 0, error: Exception | None = None) -> None:
        self.texts: list[str] = []
        self.runs: list[Run] = []
        self.failures = failures
        self.error = error or ConnectionError("the peer said: secret-content")
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, job: Note | Flaky | Hopeless | Urgent | Slow | Aliased, run: Run) -> None:
        self.texts.append(job.text)
        self.runs.append(run)
        await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise self.error


async def until(condition: Callable[[], bool | Awaitable[bool]], *, seconds: float = 20) -> None:
    """Wait until the condition holds; TimeoutError if it does not within the time."""
    async with asyncio.timeout(seconds):
        while True:
            result = condition()
            if result if isinstance(result, bool) else await result:
                return
            await asyncio.sleep(0.01)


async def until_idle(queue: Queue) -> None:
    """Wait until no job waits or runs."""

    async def is_idle() -> bool:
        return not any(each.waiting + each.scheduled + each.running for each in await queue.status())

    await until(is_idle)


def create_schema(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(upgrade_sql())


def empty(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("TRUNCATE kpi_queue.procrastinate_jobs, kpi_queue.procrastinate_workers CASCADE")


def with_options(url: str, **options: object) -> str:
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return f"{url}{'&' if '?' in url else '?'}{query}"


def open_queue(driver: str, url: str) -> Queue:
    if driver == "fake":
        return QueueFake()
    return Queue.from_url(with_options(url, lost_after=3, poll=0.1) if driver == "postgresql" else f"{driver}://")
