"""Writing messages: who may do it, and which error the others get."""

from kpi_shared.caller import Subject
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_content.conversations import repository as conversations
from kpi_content.conversations.errors import ConversationNotFoundError, ReadOnlyMemberError
from kpi_content.messages import repository
from kpi_content.messages.rows import MessageRow
from kpi_content.messages.schemas import MessageCreate


async def create(
    connection: AsyncConnection,
    *,
    conversation_id: int,
    message: MessageCreate,
    caller: Subject,
    draft: str | None = None,
    is_interrupted: bool = False,
) -> MessageRow:
    """Write a message and its event in one statement; ConversationNotFoundError or ReadOnlyMemberError.

    ``draft`` is the name under which readers have seen it come.
    """
    row = await repository.add(
        connection,
        conversation_id=conversation_id,
        message=message,
        author=caller,
        draft=draft,
        is_interrupted=is_interrupted,
    )
    if row is None:
        role = await conversations.find_role(connection, conversation_id=conversation_id, caller_id=caller.id)
        raise ConversationNotFoundError if role is None else ReadOnlyMemberError
    return row
