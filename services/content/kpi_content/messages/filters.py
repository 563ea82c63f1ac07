"""Which messages a list holds, and the positions in it where a page starts or ends."""

from dataclasses import dataclass
from typing import NamedTuple

from kpi_shared.paging import PositionFormat

_IN_CONVERSATION = PositionFormat(int, int)
_FOUND = PositionFormat(int)
CURSOR_PATTERN = _IN_CONVERSATION.cursor_pattern
SEARCH_CURSOR_PATTERN = _FOUND.cursor_pattern


class Position(NamedTuple):
    """Where a page starts: after the message with this number or, read backwards, before it."""

    is_backwards: bool
    number: int


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """The messages of one conversation by their numbers."""

    conversation_id: int

    @property
    def position_format(self) -> PositionFormat:
        return _IN_CONVERSATION

    @property
    def cursor_scope(self) -> str:
        return f"messages\n{self.conversation_id}"


@dataclass(frozen=True, slots=True)
class SearchFilter:
    """The messages that one member may see and that match, newest first; in one conversation or in all."""

    member_id: int
    search: str
    conversation_id: int | None

    @property
    def position_format(self) -> PositionFormat:
        return _FOUND

    @property
    def cursor_scope(self) -> str:
        # Neither of the ids can contain a line break, so two lists never have the same scope.
        return f"found messages\n{self.member_id}\n{self.conversation_id}\n{self.search}"
