"""The Server-Sent Events of one reader: what they have missed, then what happens."""

from collections.abc import AsyncGenerator, Iterable, Iterator
from typing import NamedTuple

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from kpi_content.conversations.stream_repository import Start
from kpi_content.live.hub import Hub, Subscription
from kpi_content.live.reading import LiveEvent

KEEPALIVE_SECONDS = 15.0
# After an end a client waits for so many milliseconds before it asks again.
_RETRY = 1000
# Events are sent together as long as they are not longer, since each client has a copy of what they are joined to.
_MOST_JOINED = 64 * 1024


class Beginning(NamedTuple):
    """``after`` is the last event that the client has.

    With ``is_reset`` it named another one, after which not all are kept: it has to read the conversation again.
    """

    after: int
    is_reset: bool


def find_beginning(start: Start, last_event: int | None) -> Beginning:
    """From now on without a last event; all after it must be kept, else the stream begins with a reset, too."""
    if last_event is None:
        return Beginning(start.last, is_reset=False)
    oldest = start.last + 1 if start.oldest is None else start.oldest
    is_kept = oldest - 1 <= last_event <= start.last
    return Beginning(last_event if is_kept else start.last, is_reset=not is_kept)


class EventStream:
    """``newest`` is the newest event when the reader's access was checked."""

    def __init__(self, hub: Hub, *, conversation_id: int, reader_id: int, beginning: Beginning, newest: int) -> None:
        self._hub = hub
        self._conversation_id = conversation_id
        self._reader_id = reader_id
        self._is_reset = beginning.is_reset
        self._sent = beginning.after
        self._newest = newest
        # Nothing follows: the client asks again, and finds out why.
        self._is_over = False

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Each item is one or more complete events, or a comment."""
        yield self._begin()
        while self._is_behind():
            # The next page is not read before this one is sent.
            for missed in concatenate(await self._read_missed()):
                yield missed
            if self._is_over:
                return
        with self._hub.join(self._conversation_id, reader_id=self._reader_id, after=self._sent) as subscription:
            while not subscription.is_cut:
                is_last = subscription.is_over
                for new in await _take(subscription):
                    yield new
                if is_last:
                    return

    def _begin(self) -> bytes:
        ready = format_sse_event(event="ready", data_str=self._place, id=str(self._sent), retry=_RETRY)
        return ready + self._reset() if self._is_reset else ready

    def _reset(self) -> bytes:
        return format_sse_event(event="reset", data_str=self._place, id=str(self._sent))

    @property
    def _place(self) -> str:
        return f'{{"seq":{self._sent}}}'

    def _is_behind(self) -> bool:
        """Whether there are events that the hub will not deliver, since it has read them already."""
        self._newest = max(self._newest, self._hub.place_of(self._conversation_id))
        return self._sent < self._newest

    async def _read_missed(self) -> list[LiveEvent]:
        events = await self._hub.read_page(self._conversation_id, after=self._sent)
        self._is_over = self._hub.is_ending
        if self._is_over:
            return []
        if not events:
            return await self._begin_again()
        end = next((at for at, event in enumerate(events, 1) if event.removed_id == self._reader_id), None)
        self._is_over = end is not None
        self._sent = events[-1].seq
        return events[:end]

    async def _begin_again(self) -> list[LiveEvent]:
        """The next event is not kept. Among those that are missing may be the removal of the reader."""
        start = await self._hub.read_start(self._conversation_id, reader_id=self._reader_id)
        if start is None:
            self._is_over = True
            return []
        self._sent = start.last
        return [LiveEvent(start.last, self._reset())]


async def _take(subscription: Subscription) -> Iterable[bytes]:
    """What comes within the time after which a comment is due, or that."""
    events = await subscription.take(seconds=KEEPALIVE_SECONDS)
    return (KEEPALIVE_COMMENT,) if not events and not subscription.is_over else concatenate(events)


def concatenate(events: Iterable[LiveEvent]) -> Iterator[bytes]:
    """Events in their order; short ones together."""
    joined: list[bytes] = []
    length = 0
    for event in events:
        if joined and length + len(event.data) > _MOST_JOINED:
            yield b"".join(joined)
            joined, length = [], 0
        if event.data:
            joined.append(event.data)
            length += len(event.data)
    if joined:
        yield b"".join(joined)
