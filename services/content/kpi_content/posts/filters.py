"""Which posts a list holds, in which order, and the positions in it where a page starts or ends."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from kpi_shared.paging import PositionFormat

SortKey = datetime | int | float


class Sort(StrEnum):
    NEW = "new"
    TOP = "top"
    HOT = "hot"


_FORMATS = {
    Sort.NEW: PositionFormat(datetime, int),
    Sort.TOP: PositionFormat(int, int),
    Sort.HOT: PositionFormat(float, int),
}
# All orders have positions, and so cursors, of the same length.
[CURSOR_PATTERN] = {form.cursor_pattern for form in _FORMATS.values()}


class Position(NamedTuple):
    """The sort key and the id of the last post of a page."""

    key: SortKey
    id: int


@dataclass(frozen=True, slots=True)
class PostFilter:
    """Without an owner, the published posts; with one, all of that user's posts, drafts included."""

    sort: Sort
    search: str | None
    owner_id: int | None
    # Whether posts of deleted accounts are left out.
    hides_deleted: bool = False

    @property
    def position_format(self) -> PositionFormat:
        return _FORMATS[self.sort]

    @property
    def cursor_scope(self) -> str:
        owner = "" if self.owner_id is None else str(self.owner_id)
        search = "-" if self.search is None else f"+{self.search}"
        # Neither the sort nor the owner can contain a line break, so two lists never have the same scope.
        return f"posts\n{self.sort}\n{owner}\n{search}"
