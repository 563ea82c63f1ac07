"""The queue: push jobs, and run them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

from pydantic import SecretStr

from kpi_kit.drivers import choose_driver
from kpi_kit.errors import AlreadyOpenError
from kpi_kit.observing import Observer, observe
from kpi_kit.queue.contract import QueueDriver, WorkPlan
from kpi_kit.queue.drivers import DRIVERS
from kpi_kit.queue.envelopes import Envelope, JobType, wrap, wrap_chain
from kpi_kit.queue.errors import InvalidJobError, LimitError, ScheduleError, WorkerSettingsError
from kpi_kit.queue.handlers import Handler, Handlers
from kpi_kit.queue.jobs import Job, check_name
from kpi_kit.queue.outcomes import FailedJob, Pushed, QueueStatus

# The largest number of PostgreSQL.
_MOST = 2**63 - 1


class Pusher:
    """Pushes jobs to one queue, or each to the one that its type names."""

    def __init__(self, driver: QueueDriver, name: str, observer: Observer | None, queue: str | None = None) -> None:
        self._driver = driver
        self._name = name
        self._observer = observer
        self._queue = queue

    async def push(self, job: Job, *, connection: object | None = None, unique: str | None = None) -> Pushed:
        """Let a worker run the job soon. When this returns, the job is kept.

        With ``connection`` (psycopg, or SQLAlchemy over it: see kpi_kit.transactions) it is written in the open
        transaction there, and exists if that commits. With ``unique``, a second push of this type of job with the same
        key does nothing while the first one waits or runs: see ``Pushed.is_new``. On a server that stands still, a call
        with ``connection`` takes 5 s more than others, and the connection is then closed.
        """
        return (await self._push([wrap(job, queue=self._queue, unique=unique)], connection))[0]

    async def push_all(self, jobs: Sequence[Job], *, connection: object | None = None) -> list[Pushed]:
        """Push many jobs in one statement: all or none."""
        return await self._push([wrap(job, queue=self._queue) for job in jobs], connection) if jobs else []

    async def later(
        self,
        job: Job,
        *,
        at: datetime | None = None,
        delay: timedelta | None = None,
        connection: object | None = None,
        unique: str | None = None,
    ) -> Pushed:
        """Push a job that starts ``at`` a time (with its zone), or when ``delay`` has passed, or soon after."""
        if (at is None) == (delay is None) or (at is not None and at.tzinfo is None):
            raise ScheduleError("later() needs exactly one of at (a time with its zone) and delay")
        try:
            when = (at or datetime.now(UTC) + (delay or timedelta(0))).astimezone(UTC)
        except OverflowError:
            raise ScheduleError("a job must start before the year 10,000") from None
        return (await self._push([wrap(job, queue=self._queue, unique=unique, at=when)], connection))[0]

    async def chain(self, jobs: Sequence[Job], *, connection: object | None = None) -> Pushed:
        """Push jobs each of which starts when the one before it has succeeded.

        If one is given up the rest does not start: the failed one names them, and they follow if it is retried.
        """
        if not jobs:
            raise InvalidJobError("a chain must have at least one job")
        return (await self._push([wrap_chain(jobs, queue=self._queue)], connection))[0]

    async def _push(self, envelopes: Sequence[Envelope], connection: object | None) -> list[Pushed]:
        with observe(self._observer, "queue", "push", self._name):
            return await self._driver.push(envelopes, connection)


class Queue(Pusher):
    """The jobs of a service. Open it with ``async with``; register handlers before a worker starts."""

    def __init__(self, driver: QueueDriver, name: str, observer: Observer | None = None) -> None:
        super().__init__(driver, name, observer)
        self._handlers = Handlers(name, observer)
        self._is_open = False

    @classmethod
    def from_url(cls, url: str | SecretStr, *, observer: Observer | None = None) -> "Queue":
        """A queue of ``postgresql://``, ``memory://`` or ``sync://``. Nothing is opened yet."""
        driver, parts = choose_driver(url, DRIVERS)
        return cls(driver.load().create_driver(parts), driver.name, observer)

    async def __aenter__(self) -> Self:
        if self._is_open:
            raise AlreadyOpenError("queue")
        await self._driver.open(self._handlers)
        self._is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_open = False
        await self._driver.close()

    def handle(self, job_type: type[JobType], handler: Handler[JobType]) -> None:
        """Run jobs of this type with ``await handler(job, run)``; what it raises is an error of the job."""
        self._handlers.add(job_type, handler)

    def cron(self, expression: str, job: Job) -> None:
        """Push the job once in each period of a cron expression (UTC), however many workers there are.

        Periods that passed while no worker ran or the database was away are left out. The one that has begun is made up
        for, if it began less than 10 minutes before the first worker started.
        """
        self._handlers.add_period(expression, job)

    def on(self, queue: str) -> Pusher:
        """Push to the queue of this name, in place of the one that the type of the job names."""
        return Pusher(self._driver, self._name, self._observer, check_name(queue))

    @asynccontextmanager
    async def work(
        self, *queues: str, concurrency: int = 10, grace: timedelta = timedelta(seconds=30)
    ) -> AsyncIterator[None]:
        """Run jobs of these queues (of all, if none is named) in the background, inside the block.

        ``concurrency`` jobs run at once, and as many again of each type with ``own_places``.

        At the end of the block no new job is started, running ones get ``grace`` to end, and what then still runs is
        cancelled and given back: it runs again elsewhere, and this run is no attempt.
        """
        if concurrency < 1 or grace < timedelta(0):
            raise WorkerSettingsError("concurrency must be at least 1, and grace must not be negative")
        async with self._driver.work(WorkPlan(tuple(map(check_name, queues)), concurrency, grace)):
            yield

    async def status(self) -> list[QueueStatus]:
        """How many jobs each queue has, by what they wait for."""
        with observe(self._observer, "queue", "status", self._name):
            return await self._driver.count()

    async def failed(self, *, limit: int = 100) -> list[FailedJob]:
        """The jobs that were given up, the newest first; LimitError for a limit that is no number of jobs."""
        if not 0 <= limit <= _MOST:
            raise LimitError("limit must not be negative, and must fit into 63 bits")
        with observe(self._observer, "queue", "failed", self._name):
            return await self._driver.list_failed(limit)

    async def retry(self, *ids: int) -> int:
        """Let these given-up jobs start anew, with all their attempts; how many there were."""
        with observe(self._observer, "queue", "retry", self._name):
            return await self._driver.retry_failed(ids)

    async def forget(self, *ids: int) -> int:
        """Remove these given-up jobs, with the rest of their chains; how many there were."""
        with observe(self._observer, "queue", "forget", self._name):
            return await self._driver.forget_failed(ids)

    async def retry_all(self) -> int:
        """Let all given-up jobs start anew; how many there were."""
        with observe(self._observer, "queue", "retry", self._name):
            return await self._driver.retry_failed(None)
