"""Keyset paging: how the position at the end of a page becomes a cursor, and a cursor a position again.

A list asks its repository for ``limit + 1`` rows; the extra row only shows that there is a next page.
"""

import struct
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import Annotated, Any, Generic, NamedTuple, Protocol, TypeVar

from fastapi import Depends, FastAPI, Request

from kpi_shared.cursors import CursorSealer, InvalidCursorError, cursor_length
from kpi_shared.keys import parse_key
from kpi_shared.settings import ServiceSettings

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_CODES: dict[type, str] = {int: "q", datetime: "q", float: "d"}

# To count more rows than this, PostgreSQL would read all of them for one number that few clients need exactly.
MAX_TOTAL = 10_000
# The numbers of rows that a page may ask for: by default 10, at most 100, and one more that shows whether a next page
# exists. The number is a part of the statement, so that the server makes one plan for that few rows and keeps it.
PAGE_SIZES = (11, 26, 51, 101)

RowT = TypeVar("RowT")


class Start(Enum):
    """How a page is reached: it is the first one, follows skipped rows, or follows a position."""

    FIRST = auto()
    SKIP = auto()
    AFTER = auto()


class Total(NamedTuple):
    """The number of rows of a list; with more than MAX_TOTAL it is that, and not exact."""

    rows: int
    is_exact: bool

    @classmethod
    def of(cls, counted: int) -> "Total":
        """``counted`` stops at one more than MAX_TOTAL."""
        return cls(min(counted, MAX_TOTAL), counted <= MAX_TOTAL)


class PositionFormat:
    """The bytes of one list's positions, from the types of the values that its rows are sorted by.

    Integers, times and floating-point numbers take 8 bytes each. At most one value may be text; ``text_bytes`` is the
    least and the most that it takes in UTF-8. Times are stored to the microsecond and read back in UTC.
    """

    def __init__(self, *types: type, text_bytes: tuple[int, int] = (0, 0)) -> None:
        self._text_at = types.index(str) if str in types else None
        numbers = [kind for kind in types if kind is not str]
        self._numbers = struct.Struct(">" + "".join(_CODES[kind] for kind in numbers))
        self._times = [at for at, kind in enumerate(numbers) if kind is datetime]
        self._lengths = tuple(cursor_length(self._numbers.size + length) for length in text_bytes)

    @property
    def cursor_pattern(self) -> str:
        """A regular expression for the cursors of the list, as a query parameter declares it."""
        shortest, longest = self._lengths
        return rf"^[A-Za-z0-9_-]{{{shortest if shortest == longest else f'{shortest},{longest}'}}}$"

    def pack(self, position: Sequence[Any]) -> bytes:
        values = list(position)
        text = b"" if self._text_at is None else values.pop(self._text_at).encode()
        for at in self._times:
            values[at] = (values[at] - _EPOCH) // _MICROSECOND
        return self._numbers.pack(*values) + text

    def unpack(self, data: bytes) -> tuple[Any, ...]:
        values = list(self._numbers.unpack_from(data))
        for at in self._times:
            values[at] = _EPOCH + values[at] * _MICROSECOND
        if self._text_at is not None:
            values.insert(self._text_at, data[self._numbers.size :].decode())
        return tuple(values)


class PositionBytes(Protocol):
    """How positions become bytes, and bytes positions. ``PositionFormat`` is for the shortest cursors."""

    def pack(self, position: Sequence[Any]) -> bytes: ...

    def unpack(self, data: bytes) -> tuple[Any, ...]: ...


class PagedList(Protocol):
    """What cursors need of a list: which rows it has, in which order. A noun's filter has both properties."""

    @property
    def cursor_scope(self) -> str:
        """Names the list with its filter and its order; no two lists of the platform have the same."""

    @property
    def position_format(self) -> PositionBytes: ...


class Page(NamedTuple, Generic[RowT]):
    """The rows of one page, and the cursor of the next page, or None at the end of the list.

    ``total`` is None if it was not asked for.
    """

    rows: Sequence[RowT]
    next: str | None
    total: Total | None = None


def encode_cursor(position: Sequence[Any], *, of: PagedList, sealer: CursorSealer) -> str:
    return sealer.seal(of.position_format.pack(position), of=of.cursor_scope)


def decode_cursor(cursor: str, *, of: PagedList, sealer: CursorSealer) -> tuple[Any, ...]:
    """The position; InvalidCursorError if the cursor is not one of this list."""
    return of.position_format.unpack(sealer.open(cursor, of=of.cursor_scope))


def check_start(*, cursor: str | None, skip: int) -> None:
    """InvalidCursorError if a request gives both places where a page may start."""
    if cursor is not None and skip:
        raise InvalidCursorError("cursor and skip cannot be combined")


def cut_page(rows: Sequence[RowT], *, limit: int, cursor_after: Callable[[RowT], str]) -> Page[RowT]:
    """The first ``limit`` rows; ``cursor_after`` is called with the last of them where another row follows."""
    if len(rows) <= limit:
        return Page(rows, None)
    return Page(rows[:limit], cursor_after(rows[limit - 1]))


async def cursor_sealer(app: FastAPI) -> AsyncIterator[None]:
    """The resource behind ``Cursors``."""
    settings: ServiceSettings = app.state.settings
    lasting = [parse_key(secret.get_secret_value()) for secret in settings.lasting_secrets]
    app.state.cursors = sealer = CursorSealer(app.state.tokens.ring, lasting)
    app.state.tokens.on_change.append(sealer.use)
    yield


async def _cursors(request: Request) -> CursorSealer:
    sealer: CursorSealer = request.app.state.cursors
    return sealer


Cursors = Annotated[CursorSealer, Depends(_cursors)]
