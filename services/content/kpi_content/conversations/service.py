"""Writing conversations: who may do it, and which error the others get."""

from kpi_shared.caller import Subject
from kpi_shared.http.conditional import Condition
from kpi_shared.records.responses import check_version
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_content.conversations import event_repository as events
from kpi_content.conversations import member_repository as members
from kpi_content.conversations import repository
from kpi_content.conversations.rights import require_owner
from kpi_content.conversations.rows import ConversationRow
from kpi_content.conversations.schemas import ConversationCreate


async def create(connection: AsyncConnection, *, conversation: ConversationCreate, caller: Subject) -> ConversationRow:
    return await repository.add(connection, title=conversation.title, owner=caller)


async def rename(
    connection: AsyncConnection,
    *,
    conversation_id: int,
    title: str,
    caller: Subject,
    condition: Condition | None = None,
) -> ConversationRow:
    """ConversationNotFoundError or NotAnOwnerError; ChangedMeanwhileError if the condition fails."""
    locked = await repository.lock(connection, conversation_id=conversation_id, caller_id=caller.id)
    require_owner(locked.role)
    await _check_version(connection, condition, conversation_id=conversation_id, caller=caller)
    await repository.rename(connection, conversation_id=conversation_id, title=title)
    await events.record(connection, conversation_id=conversation_id, kind="conversation.changed")
    return await repository.read(connection, conversation_id=conversation_id, caller_id=caller.id)


async def delete(
    connection: AsyncConnection, *, conversation_id: int, caller: Subject, condition: Condition | None = None
) -> None:
    """Take the conversation from all members at once; its rows are deleted in small steps. Errors as above."""
    locked = await repository.lock(connection, conversation_id=conversation_id, caller_id=caller.id)
    require_owner(locked.role)
    await _check_version(connection, condition, conversation_id=conversation_id, caller=caller)
    await members.remove_all(connection, conversation_id=conversation_id)
    await repository.hide(connection, conversation_id=conversation_id)
    await events.announce_end(connection, conversation_id=conversation_id)


async def _check_version(
    connection: AsyncConnection, condition: Condition | None, *, conversation_id: int, caller: Subject
) -> None:
    """Compare under the lock, so that of two writers with the same tag only one succeeds."""
    if condition is not None:
        row = await repository.read(connection, conversation_id=conversation_id, caller_id=caller.id)
        check_version(condition, row)
