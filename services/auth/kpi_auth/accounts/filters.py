"""Which users a list shows, in which order, and where in it a page ends."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from kpi_shared.caller import Role


class Sort(StrEnum):
    NEW = "new"
    OLD = "old"
    USERNAME = "username"


class Position(NamedTuple):
    """Where a page ended: its last user's id and time of registration, or name in lower case."""

    key: datetime | str
    id: int


@dataclass(frozen=True, slots=True)
class UserFilter:
    """Which users are asked for, and in which order; ``search`` is the beginning of a name, as names are stored.

    None filters nothing. Who is no admin sees active users only, and searches usernames only.
    """

    sort: Sort
    search: str | None = None
    role: Role | None = None
    is_active: bool | None = None
    deleted: bool = False
    by_admin: bool = False

    @property
    def is_by_name(self) -> bool:
        return self.sort is Sort.USERNAME
