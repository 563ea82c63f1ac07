"""One worker in a process: procrastinate's, kept alive."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

from procrastinate import App, JobContext
from procrastinate.worker import Worker

from kpi_kit.queue.contract import WorkPlan
from kpi_kit.queue.drivers.connecting import DatabaseTarget, QueueConnector
from kpi_kit.queue.drivers.managing import Decision, WorkerManager
from kpi_kit.queue.handlers import Handlers
from kpi_kit.queue.worker_places import WorkerPlaces

_logger = logging.getLogger(__name__)
_RANDOM = random.SystemRandom()
# How long the end of a run is still reported after the grace of running jobs, in seconds.
_LAST_WORDS = 10.0
# procrastinate's own signs of life end before the grace of running jobs does: this module gives them.
_NEVER = 10.0**8


class PostgresWorker:
    """Runs until ``stop`` returns."""

    def __init__(self, connector: QueueConnector, handlers: Handlers, plan: WorkPlan, target: DatabaseTarget) -> None:
        self._plan = plan
        self._lost_after = target.lost_after
        groups = handlers.list_type_groups()
        self._manager = WorkerManager(connector, handlers, WorkerPlaces(groups, each=plan.concurrency))
        in_all = plan.concurrency * max(len(groups), 1)
        self._worker = _create_worker(connector, handlers, self._manager, plan, in_all, target.poll)
        self._stopping = asyncio.Event()
        self._tasks = [asyncio.create_task(self._work()), asyncio.create_task(self._keep_alive())]

    async def stop(self) -> None:
        """Start no more jobs, wait for those that run, and give back those that do not end in time."""
        self._stopping.set()
        grace = self._plan.grace.total_seconds()
        self._manager.deadline = time.monotonic() + grace + _LAST_WORDS
        self._worker.stop()  # type: ignore[no-untyped-call]
        working, living = self._tasks
        # A worker without jobs waits for a statement at most, and a server that stands still would let it wait.
        await asyncio.wait([working], timeout=_LAST_WORDS)
        if self._worker._running_jobs:  # noqa: SLF001 it has no other name for them
            # The last words once more, since a statement may be under way when they are over.
            await asyncio.wait([working], timeout=grace + _LAST_WORDS)
        for task in (working, living):
            task.cancel()
        await asyncio.wait([working, living], timeout=_LAST_WORDS)

    async def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._worker.run()  # type: ignore[no-untyped-call]
            except Exception:
                _logger.exception("The worker ended with an error, and starts again")
            await self._pause(_RANDOM.uniform(1, 3))

    async def _keep_alive(self) -> None:
        """Show that the worker lives, and take the jobs of those that do not.

        After an outage the others have no fresh sign of life either: they get the time to give one.
        """
        pause, trusted_from = self._lost_after / 3, 0.0
        while True:
            await asyncio.sleep(pause)
            try:
                async with asyncio.timeout(self._lost_after):
                    await self._manager.beat()
                    if time.monotonic() >= trusted_from:
                        await self._manager.rescue(self._lost_after)
                pause = self._lost_after / 3
            except Exception as error:  # noqa: BLE001 the next attempt comes soon
                _logger.debug("The worker's heartbeat could not be stored: %s", type(error).__name__)
                pause, trusted_from = min(1.0, self._lost_after / 3), time.monotonic() + self._lost_after

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return


def _create_worker(
    connector: QueueConnector, handlers: Handlers, manager: WorkerManager, plan: WorkPlan, in_all: int, poll: float
) -> Worker:
    app = App(connector=connector)
    app.job_manager = manager
    for name in {*handlers.list_names(), *(period.envelope.name for period in handlers.periods)}:
        app.task(name=name, pass_context=True, retry=Decision(manager))(_create_task(handlers, manager, name))
    for period in handlers.periods:
        app.periodic_registry.register_task(
            task=app.tasks[period.envelope.name],
            cron=period.expression,
            periodic_id="",
            configure_kwargs={"queue": period.envelope.queue, "priority": period.envelope.priority},
        )
    return Worker(
        app,
        queues=list(plan.queues) or None,
        concurrency=in_all,
        fetch_job_polling_interval=poll,
        abort_job_polling_interval=_NEVER,
        shutdown_graceful_timeout=plan.grace.total_seconds(),
        delete_jobs="successful",
        install_signal_handlers=False,
        update_heartbeat_interval=_NEVER,
    )


def _create_task(handlers: Handlers, manager: WorkerManager, name: str) -> Callable[..., Awaitable[None]]:
    async def run(context: JobContext, *, job: dict[str, Any], **_rest: object) -> None:
        await handlers.run(name, job, manager.create_run(context.job))

    return run
