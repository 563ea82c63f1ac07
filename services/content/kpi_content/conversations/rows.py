"""The rows of conversations as they are encoded. ConversationPublic is the only list of the public fields."""

from collections.abc import Sequence
from typing import Any

from kpi_shared.records.responses import RecordRow, make_account

from kpi_content.conversations.filters import Position
from kpi_content.conversations.schemas import ConversationPublic

# A conversation by the names of ConversationPublic's fields, in their order.
ConversationRow = RecordRow
# The same of a member and MemberPublic.
MemberRow = RecordRow

# The fields that are columns of the conversation's own. The statements select these, then what the names below say.
COLUMNS = tuple(list(ConversationPublic.model_fields)[: list(ConversationPublic.model_fields).index("owner")])
_OWNER_ID, _USERNAME, _ROLE, _READ_NUMBER, _UNREAD = range(len(COLUMNS), len(COLUMNS) + 5)


def make_conversation(values: Sequence[Any]) -> ConversationRow:
    conversation: ConversationRow = dict(zip(COLUMNS, values, strict=False))
    conversation["owner"] = make_account(values[_OWNER_ID], values[_USERNAME])
    conversation["role"] = values[_ROLE]
    conversation["read_number"] = values[_READ_NUMBER]
    conversation["unread"] = values[_UNREAD]
    return conversation


def make_member(values: Sequence[Any]) -> MemberRow:
    role, joined_at, read_number, user_id, username = values
    user = make_account(user_id, username)
    return {"user": user, "role": role, "joined_at": joined_at, "read_number": read_number}


def position_of(row: ConversationRow) -> Position:
    return Position(row["last_message_at"] or row["created_at"], row["id"])
