"""Which posts a list shows, in which order, and where in it a page ends."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum, auto
from typing import NamedTuple

Key = datetime | int | float


class Sort(StrEnum):
    NEW = "new"
    TOP = "top"
    HOT = "hot"


class Start(Enum):
    """Where in a list a page begins."""

    FIRST = auto()
    SKIP = auto()
    AFTER = auto()


class Position(NamedTuple):
    """Where a page ended: the sort key and the id of its last post."""

    key: Key
    id: int


class PostRow(NamedTuple):
    """A post with its author's name, in the order of the repository's columns."""

    id: int
    title: str
    content: str
    published: bool
    date: datetime
    updated_at: datetime
    votes: int
    owner_id: int
    username: str


class ListedRow(NamedTuple):
    """The same in a list, with what the list is sorted by."""

    id: int
    title: str
    content: str
    published: bool
    date: datetime
    updated_at: datetime
    votes: int
    owner_id: int
    username: str
    sort_key: Key

    @property
    def position(self) -> Position:
        return Position(self.sort_key, self.id)


@dataclass(frozen=True, slots=True)
class Listing:
    """Which posts are asked for, and in which order. With an owner they are that user's own, drafts included."""

    sort: Sort
    search: str | None
    owner_id: int | None
