"""The filter, the order and the cursor positions of lists of users."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from kpi_shared.caller import Role
from kpi_shared.paging import PositionFormat

_BY_TIME = PositionFormat(datetime, int)
# Names of imported accounts may have one character.
_BY_NAME = PositionFormat(str, int, text_bytes=(1, 32))
# Cursors by time are within the lengths of cursors by name.
CURSOR_PATTERN = _BY_NAME.cursor_pattern


class Sort(StrEnum):
    NEW = "new"
    OLD = "old"
    USERNAME = "username"


class Position(NamedTuple):
    """The end of a page: the id of its last user, with the time of registration or the username in lower case."""

    key: datetime | str
    id: int


@dataclass(frozen=True, slots=True)
class UserFilter:
    """The requested users and their order; ``search`` is a normalised prefix of a name.

    None means no filter. Callers who are not admins see active users only, and search usernames only.
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
        # Only the search can contain a line break, and it comes last: different filters have different scopes.
        return f"users\n{self.sort}\n{filters}\n{search}"
