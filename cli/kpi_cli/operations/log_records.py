"""The lines of logs, in each of their forms, as records: time, level, request and text.

Lines are JSON objects or structlog's text for terminals, and those of PostgreSQL have a form of its own. A line that is
none of these, as in a traceback, goes on with the record before it.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

_TEXT = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(\.\d{1,6})?(?:Z| UTC) (.*)", re.DOTALL)
_LEVEL = re.compile(r"\[([a-z]+) *\] ")
_POSTGRES_LEVEL = re.compile(r"\[\d+\] (?:\S+ )?([A-Z]+\d?):  ")
_REQUEST = re.compile(r"\brequest_id=([^\s,]+)")
# The beginning of a line that may be a record of its own; most lines of a long log are only compared with this.
_HEAD = re.compile(rb"\{|\d{4}-\d\d-\d\d[T ]")
# A record that goes on for longer is printed in pieces.
_MOST_LINES = 500


class Level(StrEnum):
    """How important a line is, from the least to the most."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


_ORDER = {level: place for place, level in enumerate(Level)}
_POSTGRES = {"WARNING": Level.WARNING, "ERROR": Level.ERROR, "FATAL": Level.CRITICAL, "PANIC": Level.CRITICAL}


@dataclass(slots=True)
class Record:
    """One line, with those that go on with it. ``time`` sorts as text; it is empty if no line before had one."""

    part: str
    time: str
    level: Level | None
    request_id: str | None
    lines: list[str]
    # Of a line that is JSON.
    fields: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        known = {"part": self.part, "time": self.time or None, "level": self.level, "request_id": self.request_id}
        return {**known, "text": "\n".join(self.lines), "fields": self.fields}


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records are wanted; None means all."""

    request_id: str | None = None
    level: Level | None = None
    since: str | None = None

    def may_accept(self, line: bytes) -> bool:
        """Whether a first line is worth reading: most lines of a long log are not."""
        return self.request_id is None or self.request_id.encode() in line

    def accepts(self, record: Record) -> bool:
        return (
            self.request_id in {None, record.request_id}
            and (self.since is None or record.time >= self.since)
            and (self.level is None or (record.level is not None and _ORDER[record.level] >= _ORDER[self.level]))
        )


_ALL = Filter()


def read(part: str, lines: Iterable[bytes], wanted: Filter) -> Iterator[Record]:
    """The wanted records among these lines, which may be broken in any way."""
    record: Record | None = None
    last_time = ""
    for line in lines:
        is_head = _HEAD.match(line) is not None
        if is_head and not wanted.may_accept(line):
            # What goes on with it is not wanted either.
            yield from _end(record, wanted)
            record = None
            continue
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        made = _parse(part, text) if is_head else None
        if made is None and record is None and wanted == _ALL:
            made = Record(part, last_time, None, None, [text])
        if made is not None:
            yield from _end(record, wanted)
            record, last_time = made, made.time or last_time
        elif record is not None:
            record.lines.append(text)
            if len(record.lines) >= _MOST_LINES:
                yield from _end(record, wanted)
                record = Record(part, record.time, record.level, record.request_id, [])
    yield from _end(record, wanted)


def _end(record: Record | None, wanted: Filter) -> Iterator[Record]:
    if record is not None and record.lines and wanted.accepts(record):
        yield record


def find_time(line: bytes) -> str | None:
    """The time of a line that has one."""
    record = _parse("", line.decode("utf-8", "replace")) if _HEAD.match(line) else None
    return record.time if record is not None and record.time else None


def _parse(part: str, text: str) -> Record | None:
    return _parse_json(part, text) if text.startswith("{") else _parse_text(part, text)


def _parse_text(part: str, text: str) -> Record | None:
    match = _TEXT.match(text)
    if match is None:
        return None
    day, clock, fraction, rest = match.groups()
    request = _REQUEST.search(rest)
    time = _write_time(day, clock, fraction)
    return Record(part, time, _find_level(rest), request[1] if request else None, [text])


def _find_level(rest: str) -> Level | None:
    if (match := _LEVEL.match(rest)) is not None:
        return Level(match[1]) if match[1] in _ORDER else None
    match = _POSTGRES_LEVEL.match(rest)
    return _POSTGRES.get(match[1], Level.INFO) if match is not None else None


def _parse_json(part: str, text: str) -> Record | None:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    match = _TEXT.match(f"{fields.pop('timestamp', '')} ")
    time = _write_time(*match.groups()[:3]) if match is not None else ""
    name = str(fields.pop("level", ""))
    level = Level(name) if name in _ORDER else None
    request = fields.get("request_id")
    shown = f"{time} [{name:<8}] {fields.pop('event', ''):<30} {_write_fields(fields)}".rstrip()
    return Record(part, time, level, None if request is None else str(request), [shown], fields)


def _write_fields(fields: Mapping[str, Any]) -> str:
    written = {name: it if isinstance(it, str) else json.dumps(it, ensure_ascii=False) for name, it in fields.items()}
    return " ".join(f"{name}={value}" for name, value in sorted(written.items()))


def _write_time(day: str, clock: str, fraction: str | None) -> str:
    return f"{day}T{clock}.{(fraction or '')[1:]:0<6}Z"
