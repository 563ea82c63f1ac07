"""The rows of conversations as they are encoded. ConversationPublic is the only list of the public fields."""

from collections.abc import Sequence
from typing import Any

from pydantic_core import to_json

from kpi_content.conversations.filters import Position
from kpi_content.conversations.schemas import ConversationPublic

# A conversation by the names of ConversationPublic's fields, in their order.
ConversationRow = dict[str, Any]
# The same of a member and MemberPublic.
MemberRow = dict[str, Any]

# The fields that are columns of the conversation's own. The statements select these, then what the names below say.
COLUMNS = tuple(list(ConversationPublic.model_fields)[: list(ConversationPublic.model_fields).index("owner")])
_OWNER_ID, _USERNAME, _ROLE, _READ_NUMBER, _UNREAD = range(len(COLUMNS), len(COLUMNS) + 5)


def make_account(user_id: int, username: str | None) -> dict[str, Any]:
    """An account by the names of AuthorPublic's fields."""
    return {"id": user_id, "username": username, "deleted": username is None}


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


def encode_conversation(row: ConversationRow) -> bytes:
    """The body of a conversation, which its entity tag is a hash of."""
    return to_json(row)


def encode_member(row: MemberRow) -> bytes:
    return to_json(row)


def position_of(row: ConversationRow) -> Position:
    return Position(row["last_message_at"] or row["created_at"], row["id"])
