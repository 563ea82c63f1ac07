"""The Server-Sent Events of one reader: what they have missed, then what happens."""

from collections.abc import AsyncGenerator, Iterable
from typing import NamedTuple

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from kpi_content.conversations.stream_repository import Start
from kpi_content.live.hub import Hub, Subscription
from kpi_content.live.reading import LiveEvent

KEEPALIVE_SECONDS = 15.0
# After an end a client waits for so many milliseconds before it asks again.
_RETRY = 1000


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
            if missed := await self._read_missed():
                yield missed
            if self._is_over:
                return
        with self._hub.join(self._conversation_id, reader_id=self._reader_id, after=self._sent) as subscription:
            while not subscription.is_cut:
                is_last = subscription.is_over
                if new := await _take(subscription):
                    yield new
                if is_last:
                    return

    def _begin(self) -> bytes:
        place = f'{{"seq":{self._sent}}}'
        ready = format_sse_event(event="ready", data_str=place, id=str(self._sent), retry=_RETRY)
        return ready + format_sse_event(event="reset", data_str=place, id=str(self._sent)) if self._is_reset else ready

    def _is_behind(self) -> bool:
        """Whether there are events that the hub will not deliver, since it has read them already."""
        self._newest = max(self._newest, self._hub.place_of(self._conversation_id))
        return self._sent < self._newest

    async def _read_missed(self) -> bytes:
        events = await self._hub.read_page(self._conversation_id, after=self._sent)
        # The next one is missing where it has been deleted meanwhile, or the conversation has.
        self._is_over = self._hub.is_ending or not events or events[0].seq != self._sent + 1
        if self._is_over:
            return b""
        end = next((at for at, event in enumerate(events, 1) if event.removed_id == self._reader_id), None)
        self._is_over = end is not None
        self._sent = events[-1].seq
        return concatenate(events[:end])


async def _take(subscription: Subscription) -> bytes:
    """What comes within the time after which a comment is due, or that."""
    events = await subscription.take(seconds=KEEPALIVE_SECONDS)
    return KEEPALIVE_COMMENT if not events and not subscription.is_over else concatenate(events)


def concatenate(events: Iterable[LiveEvent]) -> bytes:
    return b"".join([event.data for event in events])
