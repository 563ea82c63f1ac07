"""The bodies of streamed uploads: deltas of a message as lines of JSON, or as Server-Sent Events."""

from collections.abc import Iterator
from typing import Protocol

from kpi_shared.text import StorableText
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json, to_json

from kpi_content.live.errors import MalformedUploadError
from kpi_content.messages.metadata import Metadata
from kpi_content.messages.models import MessageRole

EVENT_STREAM, LINES = "text/event-stream", "application/x-ndjson"
# As several providers of language models end theirs.
_DONE = "[DONE]"
# A line, or the data of an event, may hold a whole message, escaped.
_MOST_LINE = _MOST_EVENT = 1024 * 1024


class Delta(BaseModel):
    """``role`` and ``metadata`` are of the message, and may stand in the first delta only."""

    model_config = ConfigDict(extra="forbid")

    delta: StorableText = ""
    role: MessageRole | None = None
    metadata: Metadata | None = None


class DeltaReader(Protocol):
    """Turns the bytes of a body into deltas. ``is_done``: the client has said that nothing follows."""

    is_done: bool

    def read(self, data: bytes) -> Iterator[Delta]: ...

    def finish(self) -> Iterator[Delta]:
        """What the end of the body completes."""


class _Lines:
    """Splits bytes into lines of text, which end with LF, CR LF or CR."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def split(self, data: bytes) -> Iterator[str]:
        self._rest += data
        # Only then, so that a long line in many pieces is not searched and copied for each of them.
        if b"\n" in data:
            # A CR at the end may be the first half of a line end.
            *lines, self._rest = self._rest.replace(b"\r\n", b"\n").split(b"\n")
            for line in lines:
                yield from _decode(line)
        if len(self._rest) > _MOST_LINE:
            raise MalformedUploadError(f"A line has more than {_MOST_LINE} bytes")

    def take_rest(self) -> Iterator[str]:
        rest, self._rest = self._rest.removesuffix(b"\r"), bytearray()
        yield from _decode(rest)


def _decode(line: bytearray) -> Iterator[str]:
    try:
        yield from line.decode().split("\r")
    except UnicodeDecodeError:
        raise MalformedUploadError("The body is not UTF-8") from None


class JsonLines:
    def __init__(self) -> None:
        self._lines = _Lines()
        self.is_done = False

    def read(self, data: bytes) -> Iterator[Delta]:
        return self._parse(self._lines.split(data))

    def finish(self) -> Iterator[Delta]:
        return self._parse(self._lines.take_rest())

    def _parse(self, lines: Iterator[str]) -> Iterator[Delta]:
        for line in lines:
            if line.strip():
                yield _parse_delta(line)


class EventStream:
    """Of each event only its data is used: a JSON object with the member ``delta``, or else the text itself."""

    def __init__(self) -> None:
        self._lines = _Lines()
        self._data: list[str] = []
        self._size = 0
        self.is_done = False

    def read(self, data: bytes) -> Iterator[Delta]:
        for line in self._lines.split(data):
            yield from self._take(line)

    def finish(self) -> Iterator[Delta]:
        for line in self._lines.take_rest():
            yield from self._take(line)
        yield from self._take("")

    def _take(self, line: str) -> Iterator[Delta]:
        if line:
            name, _, value = line.partition(":")
            if name == "data":
                self._data.append(value.removeprefix(" "))
                # With the line end that joins it to the next, so that empty lines count, too.
                self._size += len(value) + 1
                if self._size > _MOST_EVENT:
                    raise MalformedUploadError(f"The data of an event has more than {_MOST_EVENT} characters")
        elif self._data:
            data, self._data, self._size = "\n".join(self._data), [], 0
            if data == _DONE:
                self.is_done = True
            elif not self.is_done:
                yield _parse_data(data)


def _parse_data(data: str) -> Delta:
    return _parse_delta(data) if _is_delta(data) else _parse_delta(to_json({"delta": data}))


def _is_delta(data: str) -> bool:
    try:
        return data.startswith("{") and "delta" in from_json(data)
    except ValueError:
        return False


def _parse_delta(line: str | bytes) -> Delta:
    try:
        return Delta.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "line"
        raise MalformedUploadError(f"A delta is not valid: {place}: {first['msg']}") from None


def create_reader(content_type: str) -> DeltaReader:
    return EventStream() if content_type.lower().startswith(EVENT_STREAM) else JsonLines()
