"""The bodies of streamed uploads: deltas of a message as lines of JSON, or as Server-Sent Events."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, cast

from kpi_shared.errors import field_error
from kpi_shared.text import StorableText
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json

from kpi_content.messages.metadata import Metadata
from kpi_content.messages.models import MessageRole
from kpi_content.messages.upload_documents import EVENT_STREAM
from kpi_content.messages.upload_errors import MalformedUploadError

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


class DeltaParser(Protocol):
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


class LineParser:
    """Each line is a delta; empty ones are skipped."""

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


class EventParser:
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
                yield _parse_data(data, number=self.line)


def _parse_data(data: str, *, number: int) -> Delta:
    parsed = _try_json(data) if data.lstrip().startswith("{") else None
    with _malformed(number):
        # A provider's own objects are refused, and not shown as what a model has said.
        return Delta.model_validate(parsed or {"delta": data})


def _try_json(data: str) -> dict[str, Any] | None:
    try:
        return cast("dict[str, Any]", from_json(data))
    except ValueError:
        return None


def _parse_delta(line: str, *, number: int) -> Delta:
    with _malformed(number):
        return Delta.model_validate_json(line)


@contextmanager
def _malformed(number: int) -> Iterator[None]:
    """``number`` is that of the first line of what is parsed."""
    try:
        yield
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        found = field_error({**first, "loc": ("body", *first["loc"])})
        reason = re.sub(r" at line \d+ column (\d+)$", r" at column \1", found["detail"])
        place = "".join(f"{step}: " for step in first["loc"])
        raise MalformedUploadError(
            f"Line {number}: {place}{reason}", pointer=found["pointer"], kind=found["type"]
        ) from None


def create_parser(content_type: str) -> DeltaParser:
    return EventParser() if content_type.lower().startswith(EVENT_STREAM) else LineParser()
