"""Which conversations and members a list holds, and the positions in it where a page starts or ends."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from kpi_shared.paging import PositionFormat

_BY_ACTIVITY = PositionFormat(datetime, int)
_BY_USER = PositionFormat(int)
CURSOR_PATTERN = _BY_ACTIVITY.cursor_pattern
MEMBER_CURSOR_PATTERN = _BY_USER.cursor_pattern


class Position(NamedTuple):
    """The last activity and the id of the last conversation of a page."""

    activity: datetime
    id: int


@dataclass(frozen=True, slots=True)
class ConversationFilter:
    """The conversations of one member, those with the newest activity first."""

    member_id: int

    @property
    def position_format(self) -> PositionFormat:
        return _BY_ACTIVITY

    @property
    def cursor_scope(self) -> str:
        return f"conversations\n{self.member_id}"


@dataclass(frozen=True, slots=True)
class MemberFilter:
    """The members of one conversation, by their ids."""

    conversation_id: int

    @property
    def position_format(self) -> PositionFormat:
        return _BY_USER

    @property
    def cursor_scope(self) -> str:
        return f"members\n{self.conversation_id}"
