"""procrastinate's manager of jobs, for workers that outlast restarts of the database."""

import asyncio
import json
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import attr
import psycopg
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager, NotificationCallback
from procrastinate.retry import BaseRetryStrategy, RetryDecision

from kpi_kit.queue.drivers import statements
from kpi_kit.queue.drivers.connecting import QueueConnector, may_pass
from kpi_kit.queue.envelopes import Envelope, read_next, to_arguments
from kpi_kit.queue.errors import TakenOverError, WorkerLostError
from kpi_kit.queue.handlers import Handlers, name_error
from kpi_kit.queue.jobs import Run
from kpi_kit.queue.periods import find_next
from kpi_kit.queue.worker_places import WorkerPlaces
from kpi_kit.transactions import find_psycopg

_logger = logging.getLogger(__name__)
_RANDOM = random.SystemRandom()
_Result = TypeVar("_Result")


class QuietJob(Job):
    """procrastinate logs the arguments of each job that starts. This one's log has none."""

    @property
    def call_string(self) -> str:
        return f"{self.task_name}[{self.id}]"

    def log_context(self) -> dict[str, Any]:
        return {"id": self.id, "task_name": self.task_name, "queue": self.queue, "attempts": self.attempts}


class WorkerManager(JobManager):
    """What one worker does to its jobs. While the database is away, it waits, and running jobs go on."""

    def __init__(self, connector: QueueConnector, handlers: Handlers, places: WorkerPlaces) -> None:
        super().__init__(connector)
        self._queue_connector = connector
        self._handlers = handlers
        self._places = places
        self._notify: NotificationCallback | None = None
        self.worker_id: int | None = None
        # After this time of the monotonic clock, nothing is waited for any more.
        self.deadline: float | None = None
        self._errors: dict[int, str] = {}
        self._given_back: set[int] = set()
        self._is_away = False

    def create_run(self, job: Job) -> Run:
        async def finish(connection: object) -> None:
            arguments = _finish_arguments(job)
            found = await self._queue_connector.execute_query_all_async_with_connection(
                await find_psycopg(connection), **arguments
            )
            if not found:
                raise TakenOverError

        options = self._handlers.find_options(job.task_name)
        return Run(_id_of(job), job.attempts + 1, job.attempts + 1 >= options.retry.attempts, finish)

    def decide(self, error: BaseException, job: Job) -> RetryDecision | None:
        """When a job whose run ended with an error starts again; None if it is to be given up."""
        if isinstance(error, asyncio.CancelledError):
            self._given_back.add(_id_of(job))
            return RetryDecision(retry_at=datetime.now(UTC))
        pause = self._handlers.find_pause(job.task_name, self.create_run(job), error)
        self._errors[_id_of(job)] = name_error(error)
        return None if pause is None else RetryDecision(retry_at=datetime.now(UTC) + pause)

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
        """The next job for which this process has a handler, and this worker a place."""
        wanted = {"queues": None if queues is None else list(queues), "worker_id": worker_id}
        rows: list[dict[str, Any]] = []
        names: list[str] = []
        try:
            # The worker does not hear of a place that becomes free while it asks.
            while not rows and names != (names := self._places.list_open()):
                rows = await self.connector.execute_query_all_async(statements.FETCH, **wanted, names=names)
                self._note_return()
        except ConnectorException as error:
            # The worker asks again in a second.
            self._note_outage(error)
            return None
        if not rows:
            return None
        job = QuietJob(**attr.asdict(Job.from_row(rows[0]), recurse=False))
        self._places.take(_id_of(job), job.task_name)
        return job

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:
        async with self._free_place_after(job):
            await self._finish(job, status)

    @asynccontextmanager
    async def _free_place_after(self, job: Job) -> AsyncIterator[None]:
        """After the block the place of the job is free; if its group was full, the worker asks for another job."""
        try:
            yield
        finally:
            if self._places.give_back(_id_of(job)) and self._notify is not None:
                await self._notify(channel="", notification={"type": "job_inserted", "job_id": _id_of(job)})

    async def _finish(self, job: Job, status: Status) -> None:
        if status is Status.SUCCEEDED:
            arguments = _finish_arguments(job)
            await self._insist(lambda: self.connector.execute_query_all_async(**arguments))
            return
        await self._execute(statements.GIVE_UP, job, error=self._errors.pop(_id_of(job)))

    async def retry_job(
        self,
        job: Job,
        retry_at: datetime | None = None,
        priority: int | None = None,
        queue: str | None = None,
        lock: str | None = None,
    ) -> None:
        self._errors.pop(_id_of(job), None)
        async with self._free_place_after(job):
            if _id_of(job) in self._given_back:
                self._given_back.discard(_id_of(job))
                await self._execute(statements.GIVE_BACK, job)
            else:
                priority = self._handlers.find_options(job.task_name).priority_after_error
                await self._execute(statements.RETRY, job, retry_at=retry_at, priority=priority)

    async def register_worker(self) -> int:
        self.worker_id = await self._insist(super().register_worker)
        return self.worker_id

    async def unregister_worker(self, worker_id: int) -> None:
        self.worker_id = None
        try:
            await super().unregister_worker(worker_id)
        except ConnectorException as error:
            # Another worker removes it later.
            self._note_outage(error)

    async def beat(self) -> None:
        """Show the other workers that this one lives."""
        if self.worker_id is not None:
            await self.connector.execute_query_async(statements.BEAT, worker_id=self.worker_id)

    async def rescue(self, lost_after: float) -> None:
        """Give the jobs of lost workers to others; a job that has cost too many workers is given up.

        How many are too many, only a process with its type knows.
        """
        names, lost = self._handlers.list_names(), await self.get_stalled_jobs(seconds_since_heartbeat=lost_after)
        for job in (each for each in lost if each.task_name in names):
            error = WorkerLostError()
            pause = self._handlers.find_pause(job.task_name, self.create_run(job), error)
            ends = {"job_id": job.id, "worker_id": job.worker_id}
            if pause is None:
                await self.connector.execute_query_all_async(statements.GIVE_UP_LOST, **ends, error=name_error(error))
            else:
                again = {"retry_at": datetime.now(UTC) + pause, "priority": None}
                await self.connector.execute_query_all_async(statements.RETRY_LOST, **ends, **again)
        await super().prune_stalled_workers(lost_after)

    async def prune_stalled_workers(self, seconds_since_heartbeat: float) -> list[int]:
        """None: procrastinate asks when a worker starts, which after an outage is too early to say who is lost."""
        return []

    async def listen_for_jobs(
        self, *, on_notification: NotificationCallback, queues: Iterable[str] | None = None
    ) -> None:
        """Until it is cancelled. Without notifications, the worker asks each second."""
        self._notify = on_notification
        while True:
            try:
                await super().listen_for_jobs(on_notification=on_notification, queues=queues)
            except (ConnectorException, psycopg.Error, TimeoutError) as error:
                self._note_outage(error)
            await asyncio.sleep(_RANDOM.uniform(0.5, 1.5))

    async def list_jobs_to_abort_async(self, queue: str | None = None) -> Iterable[int]:
        """None: the queue does not offer to abort a running job."""
        return ()

    async def defer_periodic_job(self, job: Job, periodic_id: str, defer_timestamp: int) -> int | None:
        """Push the job of a period, with the payload, which procrastinate would have logged.

        None if a period that began as late or later has its job, or if the next one has begun while the database was
        away.
        """
        period = next(each for each in self._handlers.periods if each.envelope.name == job.task_name)
        row = to_json(period.envelope, **job.task_kwargs)

        async def push() -> int | None:
            if find_next(period.expression, datetime.fromtimestamp(defer_timestamp, UTC)) <= datetime.now(UTC):
                return None
            arguments = {"job": row, "begin": defer_timestamp}
            found = await self.connector.execute_query_all_async(statements.PUSH_PERIOD, **arguments)
            pushed: int | None = found[0]["id"]
            return pushed

        return await self._insist(push)

    async def _execute(self, query: str, job: Job, **arguments: object) -> None:
        ends = {"job_id": job.id, "worker_id": job.worker_id}
        await self._insist(lambda: self.connector.execute_query_all_async(query, **ends, **arguments))

    async def _insist(self, call: Callable[[], Awaitable[_Result]]) -> _Result:
        """The result of a call that may be made twice, as soon as the database is there."""
        while True:
            try:
                result = await call()
            except ConnectorException as error:
                if not may_pass(error) or (self.deadline is not None and time.monotonic() > self.deadline):
                    raise
                self._note_outage(error)
                await asyncio.sleep(_RANDOM.uniform(0.2, 1.0))
            else:
                self._note_return()
                return result

    def _note_outage(self, error: BaseException) -> None:
        """Raise what no waiting helps against; log the beginning of an outage."""
        if not may_pass(error):
            raise error
        if not self._is_away:
            _logger.warning("The queue's database is unavailable (%s): the worker waits for it", name_error(error))
        self._is_away = True

    def _note_return(self) -> None:
        if self._is_away:
            _logger.info("The queue's database is available again")
        self._is_away = False


class Decision(BaseRetryStrategy):
    """Asks the manager."""

    def __init__(self, manager: WorkerManager) -> None:
        self._manager = manager

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        return self._manager.decide(exception, job)


def to_json(envelope: Envelope, **arguments: object) -> str:
    """The fields of procrastinate's type of jobs; those that are absent are null."""
    row = {
        "queue_name": envelope.queue,
        "task_name": envelope.name,
        "priority": envelope.priority,
        "queueing_lock": None if envelope.unique is None else f"{envelope.name}:{envelope.unique}",
        "args": arguments | to_arguments(envelope),
        "scheduled_at": None if envelope.at is None else envelope.at.isoformat(),
    }
    return json.dumps(row, ensure_ascii=False)


def _id_of(job: Job) -> int:
    assert job.id is not None  # noqa: S101 for the types: only a job that is not stored has no id
    return job.id


def _finish_arguments(job: Job) -> dict[str, Any]:
    """The statement that ends a job that has succeeded, and its arguments."""
    arguments = {"job_id": job.id, "worker_id": job.worker_id}
    following = read_next(job.task_kwargs)
    if following is None:
        return {"query": statements.FINISH, **arguments}
    return {"query": statements.FINISH_AND_GO_ON, **arguments, "jobs": f"[{to_json(following)}]"}
