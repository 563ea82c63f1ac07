"""Which users a list shows, in which order, and where in it a page ends."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from kpi_shared.caller import Role
from kpi_shared.pages import PositionFormat

_BY_TIME = PositionFormat(datetime, int)
# A name of one character, as imported accounts may have, up to the longest.
_BY_NAME = PositionFormat(str, int, text_bytes=(1, 32))
# The lengths of cursors by name take in the one of cursors by time.
CURSOR_PATTERN = _BY_NAME.cursor_pattern


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

    @property
    def position_format(self) -> PositionFormat:
        return _BY_NAME if self.is_by_name else _BY_TIME

    @property
    def cursor_scope(self) -> str:
        search = "-" if self.search is None else f"+{self.search}"
        filters = f"{self.role}\n{self.is_active}\n{self.deleted}\n{self.by_admin}"
        # Nothing but the search can hold a line break, so that two lists never have the same scope.
        return f"users\n{self.sort}\n{filters}\n{search}"
