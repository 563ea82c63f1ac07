"""The lines of the stream, from pieces that end anywhere."""

from collections.abc import Iterator

from pydantic import ValidationError

from kpi_shared.feed.errors import FeedError
from kpi_shared.feed.schemas import FeedEvent, Heartbeat, line_adapter

# An event that ends all sessions of an account, a thousand at most, has about twenty kilobytes.
_MAX_LINE = 1024 * 1024


class LineReader:
    def __init__(self) -> None:
        self._rest = b""

    def read(self, piece: bytes) -> Iterator[Heartbeat | FeedEvent]:
        """The complete lines so far; FeedError at one that is not of the feed."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if len(self._rest) > _MAX_LINE:
            raise FeedError("it sent a line without an end")
        for line in lines:
            yield _parse(line)


def _parse(line: bytes) -> Heartbeat | FeedEvent:
    try:
        return line_adapter.validate_json(line)
    except ValidationError:
        raise FeedError("it sent a line that is not of the feed") from None
