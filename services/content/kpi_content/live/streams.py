"""The Server-Sent Events of one reader: what they have missed, then what happens."""

from collections.abc import AsyncIterator, Iterable
from typing import NamedTuple

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from kpi_content.conversations.stream_repository import Start
from kpi_content.live.hub import Hub
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

    async def chunks(self) -> AsyncIterator[bytes]:
        """Each item is one or more complete events."""
        yield self._begin()
        async for chunk in self._send_missed():
            yield chunk
        if self._sent >= self._newest:
            async for chunk in self._send_new():
                yield chunk

    def _begin(self) -> bytes:
        place = f'{{"seq":{self._sent}}}'
        ready = format_sse_event(event="ready", data_str=place, id=str(self._sent), retry=_RETRY)
        return ready + format_sse_event(event="reset", data_str=place, id=str(self._sent)) if self._is_reset else ready

    async def _send_missed(self) -> AsyncIterator[bytes]:
        """Ends early if the reader has been removed, or events are missing: the client asks again, and finds out."""
        while self._sent < max(self._newest, self._hub.place_of(self._conversation_id)) and not self._hub.is_ending:
            self._newest = max(self._newest, self._hub.place_of(self._conversation_id))
            events = await self._hub.read_page(self._conversation_id, after=self._sent)
            if not events or events[0].seq != self._sent + 1:
                return
            end = next((at for at, event in enumerate(events, 1) if event.removed_id == self._reader_id), 0)
            if data := join(events[: end or None]):
                yield data
            if end:
                return
            self._sent = events[-1].seq

    async def _send_new(self) -> AsyncIterator[bytes]:
        with self._hub.join(self._conversation_id, reader_id=self._reader_id, after=self._sent) as subscription:
            while not subscription.is_cut:
                is_last = subscription.is_over
                events = await subscription.take(seconds=KEEPALIVE_SECONDS)
                if data := join(events):
                    yield data
                elif not events and not subscription.is_over:
                    yield KEEPALIVE_COMMENT
                if is_last:
                    return


def join(events: Iterable[LiveEvent]) -> bytes:
    return b"".join([event.data for event in events])
