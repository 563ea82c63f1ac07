"""Jobs in the memory of this process."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from kpi_kit.extras import import_driver
from kpi_kit.queue.board import Board, Entry
from kpi_kit.queue.contract import WorkPlan
from kpi_kit.queue.envelopes import Envelope
from kpi_kit.queue.errors import QueueNotOpenError
from kpi_kit.queue.handlers import Handlers, Period, name_error
from kpi_kit.queue.jobs import Run
from kpi_kit.queue.outcomes import FailedJob, Pushed, QueueStatus
from kpi_kit.transactions import NoTransactionError
from kpi_kit.urls import Url

_logger = logging.getLogger(__name__)


class MemoryQueue:
    """``QueueDriver`` for tests and development: its jobs are lost at the end of the process."""

    name = "memory"

    def __init__(self) -> None:
        self._board = Board()
        self._handlers: Handlers | None = None
        self._changed = asyncio.Condition()

    @property
    def handlers(self) -> Handlers:
        if self._handlers is None:
            raise QueueNotOpenError
        return self._handlers

    async def open(self, handlers: Handlers) -> None:
        self._handlers = handlers

    async def close(self) -> None:
        self._handlers = None

    async def push(self, envelopes: Sequence[Envelope], connection: object | None) -> list[Pushed]:
        _ = self.handlers
        if connection is not None:
            raise NoTransactionError(f"the {self.name} queue takes part in no transaction: use a postgresql:// URL")
        pushed = self._board.add(envelopes)
        await self._notify()
        return pushed

    @asynccontextmanager
    async def work(self, plan: WorkPlan) -> AsyncIterator[None]:
        periods, stopping = self.handlers.periods, asyncio.Event()
        groups = self.handlers.list_type_groups()
        workers = [asyncio.create_task(self._serve(plan, group, stopping)) for group in groups * plan.concurrency]
        clocks = [asyncio.create_task(self._keep(period)) for period in periods]
        try:
            yield
        finally:
            stopping.set()
            await self._notify()
            await _end(clocks)
            if workers:
                await asyncio.wait(workers, timeout=plan.grace.total_seconds())
            await _end(workers)

    async def count(self) -> list[QueueStatus]:
        _ = self.handlers
        return self._board.count()

    async def list_failed(self, limit: int) -> list[FailedJob]:
        _ = self.handlers
        return self._board.list_failed(limit)

    async def retry_failed(self, ids: Sequence[int] | None) -> int:
        _ = self.handlers
        number = self._board.retry_failed(ids)
        await self._notify()
        return number

    async def forget_failed(self, ids: Sequence[int]) -> int:
        _ = self.handlers
        return self._board.forget_failed(ids)

    async def run_next(self, queues: Sequence[str], *, due: datetime, names: Sequence[str] | None = None) -> bool:
        """Run the next job, of these names if there are any, that may start at ``due``; whether there was one."""
        entry = self._board.take(names or self.handlers.list_names(), queues, due=due)
        if entry is not None:
            await self._run(entry)
            await self._notify()
        return entry is not None

    async def _serve(self, plan: WorkPlan, group: Sequence[str], stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            if not await self.run_next(plan.queues, due=datetime.now(UTC), names=group):
                await self._wait(plan, group, stopping)

    async def _wait(self, plan: WorkPlan, group: Sequence[str], stopping: asyncio.Event) -> None:
        """Until a job may start, or the worker is to stop."""
        async with self._changed:
            next_time = self._board.find_next_time(group, plan.queues)
            seconds = None if next_time is None else (next_time - datetime.now(UTC)).total_seconds()
            if stopping.is_set() or (seconds is not None and seconds <= 0):
                return
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
            except TimeoutError:
                return

    async def _run(self, entry: Entry) -> None:
        """Run a job once, and note how it ended. One that is cancelled is given back."""
        envelope, handlers = entry.envelope, self.handlers
        options = handlers.find_options(envelope.name)
        is_last = entry.attempts >= options.retry.attempts

        async def finish(_connection: object) -> None:
            self._board.finish(entry)

        run = Run(entry.id, entry.attempts, is_last, finish)
        try:
            await handlers.run(envelope.name, envelope.payload, run)
        except asyncio.CancelledError:
            self._board.give_back(entry)
            raise
        except Exception as error:  # noqa: BLE001 any error of a handler is an error of its job
            pause = handlers.find_pause(envelope.name, run, error)
            self._board.fail(entry, name_error(error), pause, priority=options.priority_after_error)
        else:
            self._board.finish(entry)

    async def _keep(self, period: Period) -> None:
        """Push the job of a period at each of its times."""
        periods = import_driver("kpi_kit.queue.periods", extra="queue")
        while True:
            now = datetime.now(UTC)
            await asyncio.sleep((periods.find_next(period.expression, now) - now).total_seconds())
            await self.push([period.envelope], None)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            _logger.error("A task of the worker ended with an error", exc_info=result)


def create_driver(_url: Url) -> MemoryQueue:
    """A queue of its own for each call."""
    return MemoryQueue()
