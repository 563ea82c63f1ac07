"""Sends what has been committed: in its order, and again while the server is away."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from uuid import uuid4

from kpi_kit.errors import NotOpenError
from kpi_kit.events.errors import EventsUnavailableError
from kpi_kit.events.listeners import Failure
from kpi_kit.observing import Observer, observe

# How long an event is attempted, and how many may wait meanwhile: they are in the memory of this process.
_PATIENCE_SECONDS = 60.0
_MAX_WAITING = 10_000
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
log = logging.getLogger(__name__)


@dataclass
class CommitOrder:
    """Events that are sent one after another: each waits for the last one before it.

    The result of the task is the error by which its event was lost, or None.
    """

    last: "asyncio.Task[Exception | None] | None" = None


class CommittedEvents:
    """``publish`` sends the name, the JSON and the id of an event; what is lost is handed to ``note_loss``."""

    def __init__(
        self,
        publish: Callable[[str, bytes, str], Awaitable[None]],
        *,
        note_loss: Callable[[Failure], None],
        name: str,
        observer: Observer | None,
    ) -> None:
        self._publish = publish
        self._note_loss = note_loss
        self._name = name
        self._observer = observer
        self._tasks: set[asyncio.Task[Exception | None]] = set()
        self._ending = asyncio.Event()
        self._is_open = False

    def open(self) -> None:
        self._is_open = True

    def add(self, order: CommitOrder, name: str, payload: bytes) -> None:
        """Send it after those that are in the order. It has a task, and so the context, of its own."""
        if not self._is_open:
            self._lose(name, NotOpenError("event bus"))
            return
        if len(self._tasks) >= _MAX_WAITING:
            self._lose(name, EventsUnavailableError("too many events wait"))
            return
        order.last = task = asyncio.create_task(self._send_or_lose(order.last, name, payload))
        self._tasks.add(task)
        task.add_done_callback(self._end)

    async def finish(self) -> None:
        """Send what waits. From now on, a failure is the end: a bus that is closed waits for no server."""
        self._ending.set()
        # A listener may have committed another one.
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._ending.clear()

    async def close(self) -> None:
        """What is committed from now on is lost, and noted as such."""
        await self.finish()
        self._is_open = False

    def _end(self, task: "asyncio.Task[Exception | None]") -> None:
        self._tasks.discard(task)
        if task.cancelled():
            log.error("An event was not delivered to all: a listener has cancelled the task that it runs in")

    async def _send_or_lose(
        self, before: "asyncio.Task[Exception | None] | None", name: str, payload: bytes
    ) -> Exception | None:
        until = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
        if before is not None:
            # Not awaited itself: a listener may have cancelled it.
            await asyncio.wait({before})
        error = None if before is None or before.cancelled() else before.result()
        if isinstance(error, EventsUnavailableError) and self._is_over(until):
            # Or a server that stands still would be waited for once more by each event.
            self._lose(name, error)
            return error
        try:
            await self._send(name, payload, until)
        except Exception as failure:  # noqa: BLE001 the next one must be sent
            self._lose(name, failure)
            return failure
        return None

    async def _send(self, name: str, payload: bytes, until: float) -> None:
        # One for all attempts, by which the server knows what it has stored.
        event_id, pause = uuid4().hex, _FIRST_PAUSE
        while True:
            try:
                with observe(self._observer, "events", "dispatch", self._name):
                    await self._publish(name, payload, event_id)
            except EventsUnavailableError as error:
                if self._is_over(until):
                    raise
                log.warning(
                    "The event %s is committed and could not be sent; it is tried again (%s)",
                    name,
                    type(error).__name__,
                )
            else:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(pause * random.uniform(0.5, 1)):  # noqa: S311 no secret
                    await self._ending.wait()
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _is_over(self, until: float) -> bool:
        return self._ending.is_set() or asyncio.get_running_loop().time() >= until

    def _lose(self, name: str, error: Exception) -> None:
        kind = type(error).__name__
        # For the metrics: those of the attempts do not say which one was the last.
        with suppress(type(error)), observe(self._observer, "events", "lose_after_commit", self._name):
            raise error.with_traceback(None)
        log.error("The event %s was committed, and is lost (%s)", name, kind)
        self._note_loss(Failure("dispatch_after_commit", name, kind))
