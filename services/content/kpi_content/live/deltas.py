"""The bodies of streamed uploads: deltas of a message as lines of JSON, or as Server-Sent Events."""

import re
from collections.abc import Iterator
from typing import Protocol

from kpi_shared.errors import field_error
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
_MOST_LINE = _MOST_EVENT = 2 * 1024 * 1024


class Delta(BaseModel):
    """``role`` and ``metadata`` are of the message, and may stand in the first delta only."""

    model_config = ConfigDict(extra="forbid")

    delta: StorableText = ""
    role: MessageRole | None = None
    metadata: Metadata | None = None


class DeltaReader(Protocol):
    """Turns the bytes of a body into deltas. ``is_done``: the client has said that nothing follows.

    ``line`` is the number of the line, from 1, with which the newest delta began.
    """

    is_done: bool

    @property
    def line(self) -> int: ...

    def read(self, data: bytes) -> Iterator[Delta]: ...

    def finish(self) -> Iterator[Delta]:
        """What the end of the body completes."""


class _Lines:
    """Splits bytes into lines of text, which end with LF, CR LF or CR. ``number`` is that of the newest line."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self.number = 0

    def split(self, data: bytes) -> Iterator[str]:
        self._rest += data
        # Only then, so that a long line in many pieces is not searched and copied for each of them.
        if b"\n" in data:
            # A CR at the end may be the first half of a line end.
            *lines, self._rest = self._rest.replace(b"\r\n", b"\n").split(b"\n")
            for line in lines:
                yield from self._decode(line)
        if len(self._rest) > _MOST_LINE:
            raise MalformedUploadError(f"Line {self.number + 1} has more than {_MOST_LINE} bytes")

    def take_rest(self) -> Iterator[str]:
        rest, self._rest = self._rest.removesuffix(b"\r"), bytearray()
        yield from self._decode(rest)

    def _decode(self, line: bytearray) -> Iterator[str]:
        try:
            # A byte order mark is no part of the text.
            text = line.decode() if self.number else line.decode().removeprefix("\ufeff")
        except UnicodeDecodeError:
            raise MalformedUploadError(f"Line {self.number + 1} is not UTF-8") from None
        for each in text.split("\r"):
            self.number += 1
            yield each


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
                yield _parse_delta(line, number=self.line)

    @property
    def line(self) -> int:
        return self._lines.number


class EventStream:
    """Of each event only its data is used: a JSON object, which is a delta, or else the text itself."""

    def __init__(self) -> None:
        self._lines = _Lines()
        self._data: list[str] = []
        self._size = 0
        self.line = 0
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
                self.line = self.line if self._data else self._lines.number
                self._data.append(value.removeprefix(" "))
                # With the line end that joins it to the next, so that empty lines count, too.
                self._size += len(value) + 1
                if self._size > _MOST_EVENT:
                    reason = f"Line {self.line}: the data of the event has more than {_MOST_EVENT} characters"
                    raise MalformedUploadError(reason)
        elif self._data:
            data, self._data, self._size = "\n".join(self._data), [], 0
            if data == _DONE:
                self.is_done = True
            elif not self.is_done:
                yield _parse_delta(data if _is_object(data) else to_json({"delta": data}), number=self.line)


def _is_object(data: str) -> bool:
    try:
        # A provider's own events are refused, and not shown as what a model has said.
        return data.lstrip().startswith("{") and bool(from_json(data))
    except ValueError:
        return False


def _parse_delta(data: str | bytes, *, number: int) -> Delta:
    try:
        return Delta.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        found = field_error({**first, "loc": ("body", *first["loc"])})
        # The line is the first one of what was parsed.
        reason = re.sub(r" at line \d+ column (\d+)$", r" at column \1", found["detail"])
        place = "".join(f"{step}: " for step in first["loc"])
        raise MalformedUploadError(
            f"Line {number}: {place}{reason}", pointer=found["pointer"], kind=found["type"]
        ) from None


def create_reader(content_type: str) -> DeltaReader:
    return EventStream() if content_type.lower().startswith(EVENT_STREAM) else JsonLines()
