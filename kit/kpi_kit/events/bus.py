"""The event bus that callers hold."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self, TypeVar, overload
from uuid import uuid4

from pydantic import SecretStr

from kpi_kit.drivers import choose_driver
from kpi_kit.errors import AlreadyOpenError, NotOpenError
from kpi_kit.events.after_commit import AfterCommit
from kpi_kit.events.committed import CommittedEvents
from kpi_kit.events.contract import EventDriver
from kpi_kit.events.drivers import DRIVERS
from kpi_kit.events.errors import EventError, UnknownEventError
from kpi_kit.events.event import Event, check_name, encode_event
from kpi_kit.events.listeners import Failure, Listener, build_listener, find_listeners, is_stopped_by
from kpi_kit.events.receiving import Receiving
from kpi_kit.observing import Observer, observe
from kpi_kit.payloads import read_json
from kpi_kit.transactions import find_psycopg

_PATIENCE_SECONDS = 30.0
_KEPT_FAILURES = 100
E = TypeVar("E", bound=Event)
log = logging.getLogger(__name__)


class EventBus:
    """Typed events by name. An async context manager; register the listeners in one go, before or after it is opened.

    The listeners of an event run one after another, in the order of their registration, each for 30 s at most; with
    ``concurrent`` at the same time. One that fails does not stop the others and is not called again for it: what
    must be repeated belongs into a queue. Failures are in the log, in ``failures`` (the last 100) and in the metrics.
    """

    def __init__(
        self,
        driver: EventDriver,
        *,
        name: str,
        events: Iterable[type[Event]],
        concurrent: bool = False,
        observer: Observer | None = None,
    ) -> None:
        """``name`` is that of the driver, for metrics. Users call ``from_url``."""
        self._driver = driver
        self._name = name
        self._events = {check_name(event.event_name): event for event in events}
        self._concurrent = concurrent
        self._observer = observer
        self._listeners: list[Listener] = []
        self._opened: AsyncExitStack | None = None
        self.failures: deque[Failure] = deque(maxlen=_KEPT_FAILURES)
        self._receiving = Receiving(driver)
        self._committed = CommittedEvents(driver.publish, note_loss=self.failures.append, name=name, observer=observer)
        self._after_commit = AfterCommit(self._committed, runs_listeners=driver.runs_listeners)

    @classmethod
    def from_url(
        cls,
        url: str | SecretStr,
        *,
        events: Iterable[type[Event]],
        concurrent: bool = False,
        observer: Observer | None = None,
    ) -> "EventBus":
        """``memory://``, ``postgresql://user:password@host/name?group=billing`` or ``nats://host:4222?group=billing``.

        ``events`` are all types that are sent or listened to. Of all processes with one ``group``, one gets each event.
        """
        chosen, parts = choose_driver(url, DRIVERS)
        driver = chosen.load().create_driver(parts)
        return EventBus(driver, name=chosen.name, events=events, concurrent=concurrent, observer=observer)

    async def __aenter__(self) -> Self:
        if self._opened is not None:
            raise AlreadyOpenError("event bus")
        async with AsyncExitStack() as stack:
            await self._driver.open(self._deliver)
            stack.push_async_callback(self._driver.close)
            stack.callback(self._after_commit.close)
            stack.callback(setattr, self, "_opened", None)
            # Once more, if a listener has registered another one meanwhile.
            stack.push_async_callback(self._receiving.stop)
            # What was to be dispatched after a commit still is, and what its listeners dispatch.
            self._committed.open()
            stack.push_async_callback(self._committed.close)
            stack.push_async_callback(self._receiving.stop)
            if self._listeners:
                self._receiving.begin()
                await self._receiving.wait_until_subscribed()
            self._opened = stack.pop_all()
        self._begin_receiving()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened is not None:
            await self._opened.aclose()

    @overload
    def listen(self, pattern: type[E], listener: Callable[[E], Awaitable[object]]) -> None: ...

    @overload
    def listen(self, pattern: str, listener: Callable[[Any], Awaitable[object]]) -> None: ...

    def listen(self, pattern: str | type[Event], listener: Callable[[Any], Awaitable[object]]) -> None:
        """``pattern`` is a type of event, a name, or one with ``*`` in place of words: ``user.*``, ``*.created``."""
        self._add(build_listener(pattern, listener))

    def subscribe(self, subscriber: object) -> None:
        """All methods of the object that are marked with ``@listens``."""
        found = list(find_listeners(subscriber))
        if not found:
            raise EventError(f"{type(subscriber).__name__} has no method that is marked with @listens")
        for listener in found:
            self._add(listener)

    def _add(self, listener: Listener) -> None:
        self._listeners.append(listener)
        self._begin_receiving()

    def _begin_receiving(self) -> None:
        # A bus that only sends receives nothing. The task begins when the caller waits, after all that it registers.
        if self._opened is not None and self._listeners:
            self._receiving.begin()

    async def dispatch(self, event: Event) -> None:
        """Returns when the event is stored: it then reaches each group at least once; in memory, when all have run.

        EventsUnavailableError if it was not acknowledged; it may then have been stored all the same. InvalidEventError
        for a value that does not come back from JSON, and EventsSchemaError before a migration has run.
        """
        payload = self._encode(event)
        await self._receiving.wait_until_subscribed()
        with observe(self._observer, "events", "dispatch", self._name):
            await self._driver.publish(event.event_name, payload, uuid4().hex)

    async def dispatch_after_commit(self, event: Event, *, connection: object) -> None:
        """Dispatch the event if and when the open transaction of ``connection`` commits, savepoints included.

        ``connection`` is a psycopg ``AsyncConnection``, or SQLAlchemy's or a session over it. With PostgreSQL as driver
        the event is stored in the transaction, so that it exists exactly if the rest does; the URL must then be that of
        the same database. Otherwise it is sent after the commit, and lost if the process dies in between.
        """
        name, payload = event.event_name, self._encode(event)
        psycopg_connection = await find_psycopg(connection)
        await self._receiving.wait_until_subscribed()
        with observe(self._observer, "events", "dispatch_after_commit", self._name):
            if not await self._driver.publish_in(psycopg_connection, name, payload):
                await self._after_commit.send(psycopg_connection, name, payload)

    def _encode(self, event: Event) -> bytes:
        if self._opened is None:
            raise NotOpenError("event bus")
        if self._events.get(event.event_name) is not type(event):
            raise UnknownEventError(f"{type(event).__name__} is not among the events of this bus")
        return encode_event(event)

    async def _deliver(self, name: str, payload: bytes) -> None:
        matching = [listener for listener in self._listeners if listener.pattern.fullmatch(name)]
        if not matching:
            return
        try:
            event = read_json(self._events[name], payload)
        except Exception as error:  # noqa: BLE001 a validator may raise anything
            self._note_failure("the event cannot be read", name, error)
            return
        if self._concurrent:
            await asyncio.gather(*(self._call(listener, event) for listener in matching))
            return
        for listener in matching:
            await self._call(listener, event)

    async def _call(self, listener: Listener, event: Event) -> None:
        try:
            with observe(self._observer, "events", "listen", self._name):
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    await listener.function(event)
        except (Exception, asyncio.CancelledError) as error:
            # The other listeners must run.
            if is_stopped_by(error):
                raise
            self._note_failure(listener.label, event.event_name, error)

    def _note_failure(self, listener: str, event: str, error: BaseException) -> None:
        self.failures.append(Failure(listener, event, type(error).__name__))
        # Without the text of the error, which may quote the event.
        log.error("A listener failed: %s, event %s (%s)", listener, event[:100], type(error).__name__)
