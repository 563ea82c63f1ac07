"""The feed of one process: one reader of the table, which all of its streams share.

It also runs the relay whenever an event waits for its place, and says how old what it knows may be: so the reader of a
stream can tell "nothing has happened" from "nothing has been read".
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from math import inf
from time import monotonic

import structlog
from kpi_shared.background import Schedule, repeat
from kpi_shared.database import Database
from kpi_shared.database.queue import Queue
from kpi_shared.telemetry.metrics import Metrics

from kpi_auth.events import feed_repository, repository
from kpi_auth.events.errors import EventsGoneError, ReadOnlyFeedError
from kpi_auth.events.feed_repository import Snapshot
from kpi_auth.events.models import PlacedEvent
from kpi_auth.events.relay import BATCH, Relay

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.2
_SCHEDULE = Schedule(interval=POLL_SECONDS, first_backoff=POLL_SECONDS, longest_backoff=1.0)
# A stream whose client does not read is ended when so many events wait for it. The client starts again from the last
# that it has seen.
MOST_WAITING = 10_000
# One for the feed itself, one for pages, and one for snapshots, which take longest: none of them waits for another.
CONNECTIONS = 3
_PATIENCE = 4.0


class Subscription:
    """The events for one stream, from a place in their order on."""

    def __init__(self, after: int) -> None:
        self._after = after
        self._events: deque[PlacedEvent] = deque()
        self._arrival = asyncio.Event()
        self.is_cut = False

    def offer(self, events: Iterable[PlacedEvent]) -> None:
        self._events.extend(event for event in events if event.seq > self._after)
        if len(self._events) > MOST_WAITING:
            self.cut()
        elif self._events:
            self._arrival.set()

    def cut(self) -> None:
        self.is_cut = True
        self._events.clear()
        self._arrival.set()

    async def take(self, *, seconds: float) -> list[PlacedEvent]:
        """All events that wait, at once if there are any; else those that come within this time."""
        if not self._events:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._arrival.wait(), seconds)
        self._arrival.clear()
        taken = list(self._events)
        self._events.clear()
        return taken


class Feed:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._relay = Relay(database)
        self._pages, self._snapshots = Queue(1, timeout=_PATIENCE), Queue(1, timeout=_PATIENCE)
        self._subscriptions: set[Subscription] = set()
        # Everything that was committed before this moment has been read; None before the first look.
        self._known_until: float | None = None
        self._waiting = 0.0
        self.position = 0
        self.is_ending = False
        # Set to look at once.
        self.wake = asyncio.Event()
        # Called with each event in their order, for what this process keeps in memory.
        self.on_event: list[Callable[[PlacedEvent], None]] = []

    @property
    def is_ready(self) -> bool:
        return self._known_until is not None

    @property
    def behind(self) -> float:
        """Every event that was committed longer ago than so many seconds has been read."""
        return inf if self._known_until is None else monotonic() - self._known_until

    def register_metrics(self, metrics: Metrics) -> None:
        waiting = "Seconds for which the oldest event without a place waited, at the last measurement"
        metrics.add_gauge("kpi_auth_events_waiting_seconds", waiting, (), lambda: {(): self._waiting})
        behind = "Seconds since the moment up to which this process knows all events"
        metrics.add_gauge("kpi_auth_events_behind_seconds", behind, (), lambda: {(): self.behind})
        metrics.add_gauge("kpi_auth_events_last_seq", "The newest event read", (), lambda: {(): self.position})
        streams = "Streams of events that are open"
        metrics.add_gauge("kpi_auth_events_streams", streams, (), lambda: {(): len(self._subscriptions)})
        numbered = "Events to which this process has given their places"
        metrics.add_counter("kpi_auth_events_numbered", numbered, (), lambda: {(): self._relay.numbered})

    async def run(self) -> None:
        await repeat(self.step, _SCHEDULE, failure="events unreachable", wake=self.wake)

    async def step(self) -> bool:
        """Read one batch, and run the relay if an event has no place yet; True if there is more to read."""
        if self._known_until is None:
            await self._begin()
        started = monotonic()
        async with self._database.direct() as connection:
            found = await feed_repository.poll(connection, after=self.position, most=BATCH)
        self._check_current(is_read_only=found.is_read_only)
        self._deliver(found.events)
        self._waiting = max(found.waiting or 0.0, 0.0)
        is_full = len(found.events) == BATCH
        if not is_full:
            moment = started - self._waiting
            self._known_until = max(self._known_until or moment, moment)
        return is_full if found.waiting is None else await self._relay.step() or is_full

    async def _begin(self) -> None:
        async with self._database.reading() as connection:
            self.position = (await repository.get_ends(connection)).last

    def _check_current(self, *, is_read_only: bool) -> None:
        """Drop the connections to a database that others may have left for another one."""
        if is_read_only:
            self._database.state.doubt()
            raise ReadOnlyFeedError

    async def read_page(self, *, after: int, most: int) -> list[PlacedEvent]:
        """From the table, which may have more than this process has read.

        EventsGoneError also for a place that was never given: that of another database, or of one that was restored.
        """
        async with self._pages, self._database.reading() as connection:
            found = await feed_repository.get_slice(connection, after=after, most=most)
        self._check_current(is_read_only=found.is_read_only)
        if not found.horizon <= after <= found.last:
            raise EventsGoneError
        return found.events

    async def read_revocations(self, *, lifetime: timedelta) -> Snapshot:
        async with self._snapshots, self._database.reading() as connection:
            found = await feed_repository.get_revocations(connection, lifetime=lifetime)
        self._check_current(is_read_only=found.is_read_only)
        return found

    def _deliver(self, events: list[PlacedEvent]) -> None:
        if not events:
            return
        self.position = events[-1].seq
        for subscription in self._subscriptions:
            subscription.offer(events)
        for event in events:
            self._handle(event)

    def _handle(self, event: PlacedEvent) -> None:
        for handle in self.on_event:
            try:
                handle(event)
            except Exception:
                # The event is read once: the others must have it.
                log.exception("event not handled", seq=event.seq, type=event.type)

    def can_join(self, *, after: int) -> bool:
        """Whether nothing that this process has read already comes after that place."""
        return after >= self.position

    @contextmanager
    def join(self, *, after: int) -> Iterator[Subscription]:
        """Receive what is read from now on."""
        subscription = Subscription(after)
        if self.is_ending:
            subscription.cut()
        self._subscriptions.add(subscription)
        try:
            yield subscription
        finally:
            self._subscriptions.discard(subscription)

    def end_streams(self) -> None:
        self.is_ending = True
        for subscription in self._subscriptions:
            subscription.cut()
