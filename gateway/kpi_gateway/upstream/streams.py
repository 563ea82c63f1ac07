"""Places for streams, which last for minutes: Server-Sent Events, and uploads that are read while they are written.

The places of ordinary requests would be a wrong measure: a stream waits nearly all of its time, and needs memory, not a
part of what its service can do at once. aiohttp 3.14 and httpcore 1.0 were looked at: their limits are of connections,
and they do not tell a response that lasts from another (2026-11-27).
"""

from collections import Counter
from collections.abc import Sequence

from kpi_shared.errors import UnavailableError

EVENT_STREAM = b"text/event-stream"
# None becomes free by itself soon.
_RETRY_SECONDS = 5


class StreamsBusyError(UnavailableError):
    type = "streams-busy"
    title = "Too many streams are open at the gateway, in total or from this client"

    def __init__(self) -> None:
        super().__init__(retry_after=_RETRY_SECONDS)


class StreamPlaces:
    """``total`` places, of which one client gets at most ``per_client``; none waits for one.

    ``silence`` is the longest pause within a stream, in seconds.
    """

    def __init__(self, total: int, *, per_client: int, silence: float) -> None:
        self.silence = silence
        self._total = total
        self._per_client = per_client
        self._by_client: Counter[str] = Counter()
        self.taken = 0
        self.refused = 0

    def take(self, client: str) -> None:
        """Raises StreamsBusyError."""
        if self.taken >= self._total or self._by_client[client] >= self._per_client:
            self.refused += 1
            raise StreamsBusyError
        self._by_client[client] += 1
        self.taken += 1

    def give_back(self, client: str) -> None:
        self.taken -= 1
        self._by_client[client] -= 1
        if not self._by_client[client]:
            del self._by_client[client]


def is_event_stream(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether a message with these fields has events as its body; names are in lower case."""
    return media_type_of(headers) == EVENT_STREAM


def media_type_of(headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    for name, value in headers:
        if name == b"content-type":
            return value.partition(b";")[0].strip().lower()
    return b""
