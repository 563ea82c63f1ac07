"""Which posts a list shows, in which order, and where in it a page ends."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

Key = datetime | int | float


class Sort(StrEnum):
    NEW = "new"
    TOP = "top"
    HOT = "hot"


class Position(NamedTuple):
    """Where a page ended: the sort key and the id of its last post."""

    key: Key
    id: int


@dataclass(frozen=True, slots=True)
class Listing:
    """Which posts are asked for, and in which order. With an owner they are that user's own, drafts included."""

    sort: Sort
    search: str | None
    owner_id: int | None
