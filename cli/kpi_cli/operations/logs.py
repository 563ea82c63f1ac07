"""``kpi logs``: the logs of the local stack, all parts in one, in the order of time."""

import heapq
import json
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from kpi_cli.errors import FailureError, suggest
from kpi_cli.layout import Layout
from kpi_cli.operations import log_files, log_records, outputs
from kpi_cli.operations.durations import parse_duration
from kpi_cli.operations.log_files import Follower
from kpi_cli.operations.log_records import Filter, Level, Record
from kpi_cli.parts import PARTS
from kpi_cli.stack import terminal

NAMES = (*(part.name for part in PARTS), "postgres")
_POLL_SECONDS = 0.2
_COLOURS = {Level.WARNING: "33", Level.ERROR: "31", Level.CRITICAL: "1;31", Level.DEBUG: "2"}


def build_filter(request_id: str | None, level: Level | None, since: str | None) -> Filter:
    """The filter of the options; ``since`` is a duration such as 10m."""
    if since is None:
        return Filter(request_id, level)
    first = datetime.now(UTC) - timedelta(seconds=parse_duration("logs", since))
    return Filter(request_id, level, f"{first:%Y-%m-%dT%H:%M:%S.%fZ}")


def print_logs(layout: Layout, part: str | None, wanted: Filter, *, count: int, follow: bool, as_json: bool) -> None:
    """Print the newest records that are wanted, in the order of time, and with ``follow`` those that are added."""
    _check(layout, part)
    paths = log_files.find(layout.logs, part)
    followers = {name: Follower(layout.logs / f"{name}.log") for name in _names(layout, part)} if follow else {}
    is_plain = wanted.level is None and wanted.request_id is None
    newest = count if is_plain and wanted.since is None else None
    streams = [log_files.read(name, files, wanted, newest) for name, files in paths.items()]
    merged: Iterable[Record] = heapq.merge(*streams, key=lambda record: record.time)
    if wanted.since is None:
        merged = deque(merged, maxlen=count)
    with outputs.until_closed():
        if as_json and not follow:
            outputs.print_json_list(record.as_json() for record in merged)
            return
        for record in merged:
            _print(record, as_json=as_json)
        if follow:
            _follow(layout, part, wanted, followers, as_json=as_json)


def _check(layout: Layout, part: str | None) -> None:
    if part is not None and part not in NAMES:
        problem = f"there is no part {part}; the logs are of {', '.join(NAMES)}{suggest(part, NAMES)}"
        raise FailureError("logs", problem, code=2)
    if not log_files.find(layout.logs, None):
        problem = "the local stack has not been started in this checkout, so it has no logs"
        raise FailureError("logs", problem, fix="make up; or, if the stack runs in containers: docker compose logs")
    if part is not None and not log_files.find(layout.logs, part):
        raise FailureError("logs", f"{layout.shorten(layout.logs)} has no log of {part}", fix="make up")


def _names(layout: Layout, part: str | None) -> set[str]:
    return {part} if part is not None else {*NAMES, *log_files.find(layout.logs, None)}


def _follow(layout: Layout, part: str | None, wanted: Filter, followers: dict[str, Follower], *, as_json: bool) -> None:
    """Until Ctrl-C. A file that appears is read from its beginning."""
    try:
        while True:
            for name in sorted(_names(layout, part) - set(followers)):
                followers[name] = Follower(layout.logs / f"{name}.log", from_start=True)
            for record in sorted(_read_added(followers, wanted), key=lambda each: each.time):
                _print(record, as_json=as_json)
            sys.stdout.flush()
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        return


def _read_added(followers: dict[str, Follower], wanted: Filter) -> Iterator[Record]:
    for name, follower in followers.items():
        yield from log_records.read(name, follower.read(), wanted)


def _print(record: Record, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(record.as_json()))
        return
    for line in record.lines:
        print(_write_line(record, line))


def _write_line(record: Record, line: str) -> str:
    """The line as the running stack prints it; nothing in it is a command to the terminal."""
    name, text = f"{record.part:<{terminal.NAME_WIDTH}} | ", terminal.replace_controls(line)
    if not sys.stdout.isatty():
        return name + text
    colour = _COLOURS.get(record.level) if record.level is not None else None
    shown = f"\x1b[{colour}m{text}\x1b[0m" if colour else text
    return f"\x1b[{terminal.COLOURS.get(record.part, 0)}m{name}\x1b[0m{shown}"
