"""Reads a file of posts and checks every line of it before anything is loaded."""

import codecs
import gzip
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from kpi_cli.errors import FailureError

LARGEST_ID = 2**63 - 1
TITLE_LENGTH = 300
CONTENT_LENGTH = 40_000
LARGEST_COUNT = 2**31 - 1
AUTHOR = re.compile(r"[A-Za-z0-9_.-]{1,32}")
# Bytes of Windows' code page 1252 that were read as Latin-1, where they are control characters: the euro sign and more.
_WINDOWS = {code: bytes([code]).decode("cp1252", "ignore") or chr(code) for code in range(0x80, 0xA0)}


@dataclass(frozen=True)
class Post:
    """One line of the file; ``line`` is its number, for messages."""

    line: int
    id: int
    author: str
    title: str
    url: str
    points: int
    created_at: datetime


class LineError(ValueError):
    """What is wrong with a line, with the name of the field."""


class BadLineError(FailureError):
    """A line that cannot be loaded, named by file, line and field."""

    def __init__(self, file: Path, line: int, problem: str) -> None:
        super().__init__("load", f"{file} line {line}: {problem}", fix="correct the line; nothing has been loaded")


def read(file: Path) -> list[Post]:
    """All posts of a file, gzipped or plain; raises FailureError for the first invalid line."""
    posts: list[Post] = []
    seen: dict[int, int] = {}
    spelled: dict[str, Post] = {}
    for number, raw in _read_lines(file):
        try:
            post = parse(number, raw)
        except LineError as error:
            raise BadLineError(file, number, str(error)) from error
        if post.id in seen:
            raise BadLineError(file, number, f"field id: {post.id} is already in line {seen[post.id]}")
        seen[post.id] = number
        first = spelled.setdefault(post.author.lower(), post)
        if first.author != post.author:
            raise BadLineError(file, number, _describe_spelling(post, first))
        posts.append(post)
    _check_points(file, posts)
    return posts


def _describe_spelling(post: Post, first: Post) -> str:
    # Usernames are unique without regard to case, so both would be the same user.
    return f"field author: {post.author} and {first.author} in line {first.line} differ only in case"


def authors(posts: list[Post]) -> dict[str, datetime]:
    """Every author by name, with the date of their first post, in the order of their names."""
    first: dict[str, datetime] = {}
    for post in posts:
        first[post.author] = min(first.get(post.author, post.created_at), post.created_at)
    return dict(sorted(first.items()))


def parse(number: int, raw: bytes) -> Post:
    """One line as a post; raises LineError with the name of the field."""
    try:
        record = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise LineError("it is not UTF-8") from error
    # A number with thousands of digits is a ValueError too.
    except (ValueError, RecursionError) as error:
        raise LineError("it is not JSON") from error
    if not isinstance(record, dict):
        raise LineError("it is not a JSON object")
    _read_count(record, "comments", LARGEST_COUNT)
    return Post(
        line=number,
        id=_read_count(record, "id", LARGEST_ID),
        author=_read_author(record),
        title=_read_title(record),
        url=_read_text(record, "url", 0, CONTENT_LENGTH),
        points=_read_count(record, "points", LARGEST_COUNT),
        created_at=_read_time(record, "created_at"),
    )


def repair_encoding(text: str) -> str:
    """Undo a double encoding: UTF-8 that was read as Latin-1 and encoded again, as in "PokÃ©mon".

    A text that was not encoded twice stays as it is: its letters outside ASCII are no UTF-8 when taken for bytes, or do
    not fit in a byte.
    """
    try:
        return text.encode("latin-1").decode("utf-8").translate(_WINDOWS)
    except UnicodeError:
        return text


def _read_lines(file: Path) -> Iterator[tuple[int, bytes]]:
    number = 0
    try:
        with gzip.open(file) if _is_gzip(file) else file.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                # Editors and spreadsheets of some systems begin a UTF-8 file with a byte order mark.
                raw = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
                if raw.strip():
                    yield number, raw
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadLineError(file, number + 1, "the compressed file is damaged or incomplete from here on") from error


def _is_gzip(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return stream.read(2) == b"\x1f\x8b"
    except OSError as error:
        raise FailureError(
            "load", f"{file}: {error.strerror}", fix="choose another: make load FILE=posts.jsonl.gz"
        ) from error


def _check_points(file: Path, posts: list[Post]) -> None:
    voters = len({post.author for post in posts})
    for post in posts:
        if post.points > voters:
            raise BadLineError(
                file,
                post.line,
                f"field points: {post.points} votes need as many different authors, but the file has only {voters}",
            )


def _read_field(record: dict[str, object], name: str) -> object:
    if name not in record:
        raise LineError(f"field {name}: it is missing")
    return record[name]


def _read_count(record: dict[str, object], name: str, largest: int) -> int:
    value = _read_field(record, name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise LineError(f"field {name}: a whole number is required, not {_kind(value)}")
    if not 0 <= value <= largest:
        raise LineError(f"field {name}: a number from 0 to {largest} is required")
    return value


def _read_text(record: dict[str, object], name: str, shortest: int, longest: int) -> str:
    value = _read_field(record, name)
    if not isinstance(value, str):
        raise LineError(f"field {name}: a string is required, not {_kind(value)}")
    if not shortest <= len(value) <= longest:
        raise LineError(f"field {name}: {shortest} to {longest} characters are required, and it has {len(value)}")
    if shortest and not value.strip():
        raise LineError(f"field {name}: it is blank")
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise LineError(f"field {name}: it has a character that the database cannot store")
    return value


def _read_title(record: dict[str, object]) -> str:
    value = _read_field(record, "title")
    repaired = repair_encoding(value) if isinstance(value, str) else value
    return _read_text({"title": repaired}, "title", 1, TITLE_LENGTH)


def _read_author(record: dict[str, object]) -> str:
    value = _read_text(record, "author", 1, 32)
    if not AUTHOR.fullmatch(value):
        raise LineError("field author: only letters, digits, _, - and . are allowed")
    return value


def _read_time(record: dict[str, object], name: str) -> datetime:
    value = _read_field(record, name)
    try:
        time = datetime.fromisoformat(value)  # type: ignore[arg-type]
        utc = time.astimezone(UTC)
    except (TypeError, ValueError, OverflowError) as error:
        raise LineError(f"field {name}: a time like 2015-09-06T05:56Z is required") from error
    if time.tzinfo is None:
        raise LineError(f"field {name}: the time zone is missing, as in 2015-09-06T05:56Z")
    return utc


def _kind(value: object) -> str:
    names = {str: "a string", bool: "a boolean", type(None): "null", float: "a fraction", list: "a list"}
    return names.get(type(value), "a number" if isinstance(value, int) else "an object")
