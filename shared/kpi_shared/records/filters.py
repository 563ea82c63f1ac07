"""Which rows a list holds, in which order, and the positions in it where a page starts or ends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from pydantic import TypeAdapter
from pydantic_core import to_json

from kpi_shared.cursors import CursorSealer
from kpi_shared.paging import PAGE_SIZES, Start, encode_cursor

# A position is JSON with the value that the list is sorted by, at most 255 characters of text; a cursor is longer.
CURSOR_PATTERN = r"^[A-Za-z0-9_-]{24,2000}$"
NEWEST_FIRST = "new"


class Order(NamedTuple):
    """By the values of a column, those without one last; by the ids alone if it is None."""

    column: str | None
    is_descending: bool

    @classmethod
    def parse(cls, sort: str) -> "Order":
        """``new``, or the name of a column, after a minus sign for the other direction."""
        if sort == NEWEST_FIRST:
            return cls(None, is_descending=True)
        return cls(sort.removeprefix("-"), is_descending=sort.startswith("-"))


class Shape(NamedTuple):
    """All of a list that its statement depends on: the names of columns, without the values."""

    order: Order
    has_search: bool
    equal: tuple[str, ...]
    at_least: tuple[str, ...]
    at_most: tuple[str, ...]
    is_deleted: bool


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What a list was asked for. The mappings have values by the names of columns; None is no condition."""

    sort: str = NEWEST_FIRST
    search: str | None = None
    equal: Mapping[str, Any] = field(default_factory=dict)
    at_least: Mapping[str, Any] = field(default_factory=dict)
    at_most: Mapping[str, Any] = field(default_factory=dict)
    # The deleted rows, of a table that keeps them, instead of the others.
    is_deleted: bool = False

    @property
    def shape(self) -> Shape:
        return Shape(
            Order.parse(self.sort),
            self._text is not None,
            _used(self.equal),
            _used(self.at_least),
            _used(self.at_most),
            self.is_deleted,
        )

    @property
    def values(self) -> dict[str, Any]:
        """The values that a statement of the shape binds."""
        groups = {"equal": self.equal, "from": self.at_least, "to": self.at_most}
        values = {f"{group}_{name}": each[name] for group, each in groups.items() for name in _used(each)}
        return values if self._text is None else {**values, "search": self._text}

    @property
    def _text(self) -> str | None:
        return (self.search or "").strip() or None


def _used(values: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(name for name, value in values.items() if value is not None)


class KeyFormat:
    """The bytes of positions that consist of a value of one type, or None, and an id."""

    cursor_pattern = CURSOR_PATTERN

    def __init__(self, kind: type) -> None:
        self._adapter = TypeAdapter[tuple[Any, int]](tuple[kind | None, int])  # type: ignore[valid-type]

    def pack(self, position: Sequence[Any]) -> bytes:
        return to_json(position)

    def unpack(self, data: bytes) -> tuple[Any, int]:
        return self._adapter.validate_json(data)


@cache
def key_format(kind: type) -> KeyFormat:
    return KeyFormat(kind)


@dataclass(frozen=True, slots=True)
class PagedRecords:
    """A list of a table, as cursors need it: see ``kpi_shared.paging.PagedList``."""

    table: str
    filters: Filters
    position_format: KeyFormat

    @property
    def cursor_scope(self) -> str:
        return f"{self.table}\n{to_json([self.filters.shape, self.filters.values]).decode()}"


class ListRequest(NamedTuple):
    """One page of a list, of which everything has been checked."""

    listed: PagedRecords
    limit: int
    skip: int
    # The value that the list is sorted by, and the id, of the last row of the page before.
    after: tuple[Any, int] | None
    has_total: bool
    cursors: CursorSealer

    def cursor_after(self, row: Mapping[str, Any]) -> str:
        column = self.listed.filters.shape.order.column
        return encode_cursor((row[column] if column else None, row["id"]), of=self.listed, sealer=self.cursors)

    @property
    def start(self) -> Start:
        return Start.AFTER if self.after is not None else Start.SKIP if self.skip else Start.FIRST

    @property
    def size(self) -> int:
        """The rows to read: one more than the page has, or a few, which are left out."""
        return next(size for size in PAGE_SIZES if size > self.limit)
