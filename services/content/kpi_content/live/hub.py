"""What happens in conversations, for the streams of this process: one reader of the tables for all of them.

A notification says which conversation has changed. Without LISTEN, and in case one was lost, the hub also looks by
itself at the conversations that are followed.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import accumulate
from time import monotonic

import structlog
from kpi_shared.background import Schedule, repeat
from kpi_shared.database import Database
from kpi_shared.database.listening import Listener

from kpi_content.conversations.stream_repository import Start
from kpi_content.live import reading
from kpi_content.live.reading import LiveEvent

log = structlog.get_logger(__name__)

# How often the hub looks by itself, without LISTEN and with it.
POLL_SECONDS, CHECK_SECONDS = 0.5, 5.0
# With its jitter, an interval is no longer than POLL_SECONDS.
SCHEDULE = Schedule(interval=POLL_SECONDS * 0.9, first_backoff=0.1, longest_backoff=1.0)
# A stream whose client does not read is ended when more than this waits for it. The client begins again after the last
# event that it has seen.
MOST_WAITING, MOST_WAITING_BYTES = 500, 4 * 1024 * 1024
# Of one conversation, given to its streams at once: they take it before the next look gives them more.
MOST_GIVEN_BYTES = MOST_WAITING_BYTES // 2
# Parts of drafts that wait for a look at their conversation.
_MOST_HELD = 1000


class Subscription:
    """The events for one stream, from a place in their order on."""

    __slots__ = ("_after", "_arrival", "_bytes", "_events", "_reader_id", "is_cut", "is_over")

    def __init__(self, *, reader_id: int, after: int) -> None:
        self._reader_id = reader_id
        self._after = after
        self._events: deque[LiveEvent] = deque()
        self._bytes = 0
        self._arrival = asyncio.Event()
        # Nothing more comes.
        self.is_over = False
        # Nor what has come and was not taken.
        self.is_cut = False

    def offer(self, event: LiveEvent) -> None:
        """What comes after the removal of the reader is not for them."""
        if self.is_over or 0 < event.seq <= self._after:
            return
        self._events.append(event)
        self._bytes += len(event.data)
        if event.removed_id == self._reader_id:
            self.end()
        self._arrival.set()

    @property
    def is_full(self) -> bool:
        return len(self._events) > MOST_WAITING or (self._bytes > MOST_WAITING_BYTES and len(self._events) > 1)

    def end(self) -> None:
        """After what has come."""
        self.is_over = True
        self._arrival.set()

    def cut(self) -> None:
        self.is_cut = True
        self._events.clear()
        self.end()

    async def take(self, *, seconds: float) -> list[LiveEvent]:
        """All events that wait, at once if there are any; else those that come within this time."""
        if not self._events and not self.is_over:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._arrival.wait()
        self._arrival.clear()
        taken = list(self._events)
        self._events.clear()
        self._bytes = 0
        return taken


class _Followed:
    """One conversation that is followed here, and the place up to which its events were read.

    ``held`` are parts of drafts that wait for the next look, since a reader may have been removed before them.
    """

    __slots__ = ("held", "place", "subscriptions")

    def __init__(self, place: int) -> None:
        self.place = place
        self.subscriptions: set[Subscription] = set()
        self.held: list[LiveEvent] = []


class Hub:
    """Gives the events of the conversations that are followed here to their streams, each in its order."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._followed: dict[int, _Followed] = {}
        # The conversations to look at, and those that are being looked at.
        self._stale: set[int] = set()
        self._read: set[int] = set()
        self._wake = asyncio.Event()
        self._checked_at = 0.0
        self.listener: Listener | None = None
        self.is_ending = False
        self.streams = 0
        self.sent = 0
        self.cut = 0
        # What had happened by then has been given to the streams.
        self._done_at = monotonic()

    @property
    def is_listening(self) -> bool:
        return self.listener is not None and self.listener.is_listening

    @property
    def lag(self) -> float:
        """For how many seconds no step has succeeded; 0 without streams."""
        return monotonic() - self._done_at if self.streams else 0.0

    async def run(self) -> None:
        await repeat(self.step, SCHEDULE, failure="conversations unreadable", wake=self._wake)

    def is_followed(self, conversation_id: int) -> bool:
        return conversation_id in self._followed

    # What is known to have happened.

    def note(self, conversation_id: int, seq: int) -> None:
        """A conversation has an event at this place, or for 0 is gone."""
        followed = self._followed.get(conversation_id)
        if followed is not None and (seq > followed.place or not seq):
            self._look_at(conversation_id)

    def note_draft(self, conversation_id: int, part: LiveEvent, *, is_ordered: bool) -> None:
        """``is_ordered``: all that was committed before it has been noted."""
        followed = self._followed.get(conversation_id)
        if followed is None:
            return
        if not is_ordered:
            self._look_at(conversation_id)
        if conversation_id not in self._stale and conversation_id not in self._read:
            self._deliver(followed, [part])
        elif len(followed.held) < _MOST_HELD:
            followed.held.append(part)

    def look_at_all(self) -> None:
        self._stale.update(self._followed)
        self._wake.set()

    def _look_at(self, conversation_id: int) -> None:
        self._stale.add(conversation_id)
        self._wake.set()

    # Looking, and delivering.

    async def step(self) -> bool:
        """Look at all conversations that may have changed; True if there are more by then."""
        began_at = monotonic()
        if not self.is_listening or began_at - self._checked_at >= CHECK_SECONDS:
            self._stale.update(self._followed)
            self._checked_at = began_at
        self._read, self._stale = self._stale & self._followed.keys(), set()
        if self._read:
            try:
                await self._look()
            except BaseException:
                self._stale |= self._read
                raise
            finally:
                self._read = set()
        self._done_at = began_at
        return bool(self._stale)

    async def _look(self) -> None:
        looked_at = {each: self._followed[each] for each in self._read}
        places = {each: followed.place for each, followed in looked_at.items()}
        found = await reading.read_changes(self._database, places)
        for conversation_id, events in found.items():
            # Its streams may have left meanwhile; those that came since then have joined another one.
            if self._followed.get(conversation_id) is looked_at[conversation_id]:
                self._apply(conversation_id, looked_at[conversation_id], events)
        for conversation_id in self._read - self._stale:
            if (followed := self._followed.get(conversation_id)) is not None and followed.held:
                held, followed.held = followed.held, []
                self._deliver(followed, held)

    def _apply(self, conversation_id: int, followed: _Followed, events: list[LiveEvent]) -> None:
        if not events or events[-1].seq != followed.place + len(events):
            # The conversation is gone, or events are: its readers ask again, and get what is true then.
            for subscription in followed.subscriptions:
                subscription.end()
            del self._followed[conversation_id]
            return
        given = _begin(events)
        followed.place = given[-1].seq
        self._deliver(followed, given)
        if len(given) < len(events) or len(events) == reading.MOST:
            self._stale.add(conversation_id)

    def _deliver(self, followed: _Followed, events: Iterable[LiveEvent]) -> None:
        for event in events:
            for subscription in followed.subscriptions:
                subscription.offer(event)
                self.sent += 1
        for subscription in followed.subscriptions:
            if subscription.is_full:
                self.cut += 1
                subscription.cut()

    # Streams.

    def place_of(self, conversation_id: int) -> int:
        """The place up to which events were read for the streams that are open; 0 if there is none."""
        followed = self._followed.get(conversation_id)
        return followed.place if followed is not None else 0

    async def read_page(self, conversation_id: int, *, after: int) -> list[LiveEvent]:
        return await reading.read_page(self._database, conversation_id=conversation_id, after=after)

    async def read_start(self, conversation_id: int, *, reader_id: int) -> Start | None:
        return await reading.read_start(self._database, conversation_id=conversation_id, reader_id=reader_id)

    @contextmanager
    def join(self, conversation_id: int, *, reader_id: int, after: int) -> Iterator[Subscription]:
        """Receive what comes after the place, which must be ``place_of`` the conversation or a later one."""
        followed = self._followed.get(conversation_id)
        if followed is None:
            followed = self._followed[conversation_id] = _Followed(after)
            self._look_at(conversation_id)
        subscription = Subscription(reader_id=reader_id, after=after)
        followed.subscriptions.add(subscription)
        self.streams += 1
        if self.is_ending:
            subscription.cut()
        try:
            yield subscription
        finally:
            self.streams -= 1
            followed.subscriptions.discard(subscription)
            if not followed.subscriptions and self._followed.get(conversation_id) is followed:
                del self._followed[conversation_id]

    def end_streams(self) -> None:
        """End those that are open; none begins after this. A second call does nothing."""
        if self.is_ending:
            return
        self.is_ending = True
        for followed in self._followed.values():
            for subscription in followed.subscriptions:
                subscription.cut()


def _begin(events: list[LiveEvent]) -> list[LiveEvent]:
    """As many of the first events as are given at once, one at least."""
    totals = accumulate(len(event.data) for event in events)
    return events[: max(1, sum(total <= MOST_GIVEN_BYTES for total in totals))]
