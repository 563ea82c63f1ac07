"""Writing messages: who may do it, and which error the others get."""

from kpi_shared.caller import Subject
from kpi_shared.http.conditional import Condition
from kpi_shared.records.responses import check_version
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_content.conversations import event_repository as events
from kpi_content.conversations import member_repository as members
from kpi_content.conversations import repository as conversations
from kpi_content.conversations.errors import ConversationNotFoundError, ReadOnlyMemberError
from kpi_content.conversations.models import MemberRole
from kpi_content.messages import repository
from kpi_content.messages.errors import (
    MessageNotFoundError,
    NotYourMessageError,
    NumberNotGivenError,
)
from kpi_content.messages.rows import MessageRow
from kpi_content.messages.schemas import MessageCreate, ReadState


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
        await check_writer(connection, conversation_id=conversation_id, caller=caller)
        raise ReadOnlyMemberError
    return row


async def check_writer(connection: AsyncConnection, *, conversation_id: int, caller: Subject) -> None:
    """ConversationNotFoundError or ReadOnlyMemberError."""
    role = await members.find_role(connection, conversation_id=conversation_id, user_id=caller.id)
    if role is None:
        raise ConversationNotFoundError
    if role is MemberRole.READER:
        raise ReadOnlyMemberError


async def delete(
    connection: AsyncConnection,
    *,
    conversation_id: int,
    message_id: int,
    caller: Subject,
    condition: Condition | None = None,
) -> None:
    """Delete the caller's own message or, as an owner, any.

    ConversationNotFoundError, MessageNotFoundError or NotYourMessageError; ChangedMeanwhileError if the condition
    fails.
    """
    locked = await conversations.lock(connection, conversation_id=conversation_id, caller_id=caller.id)
    row = await repository.read(connection, conversation_id=conversation_id, message_id=message_id)
    if row is None:
        raise MessageNotFoundError
    if row["author"]["id"] != caller.id and locked.role is not MemberRole.OWNER:
        raise NotYourMessageError
    if condition is not None:
        check_version(condition, row)
    await members.add_gap(connection, conversation_id=conversation_id, number=row["number"])
    await repository.remove(connection, conversation_id=conversation_id, message_id=message_id)


async def mark_as_read(connection: AsyncConnection, *, conversation_id: int, number: int, caller: Subject) -> ReadState:
    """Move the caller's read mark, forwards or backwards; ConversationNotFoundError or NumberNotGivenError."""
    gaps, event = await _count_gaps(connection, conversation_id=conversation_id, number=number, caller=caller)
    locked = await conversations.lock(connection, conversation_id=conversation_id, caller_id=caller.id)
    gaps += await events.count_deleted(connection, conversation_id=conversation_id, after=event, number=number)
    if await members.mark(connection, conversation_id=conversation_id, user_id=caller.id, number=number, gaps=gaps):
        await events.record(
            connection, conversation_id=conversation_id, kind="conversation.read", user_id=caller.id, number=number
        )
    return ReadState(read_number=number, unread=locked.last_number - number - gaps)


async def _count_gaps(
    connection: AsyncConnection, *, conversation_id: int, number: int, caller: Subject
) -> tuple[int, int]:
    """How many messages above the number have been deleted, up to which event.

    Before the lock, so that no writer waits for a long count.
    """
    counted = await repository.count_above(
        connection, conversation_id=conversation_id, number=number, caller_id=caller.id
    )
    if counted is None:
        raise ConversationNotFoundError
    if number > counted.last_number:
        raise NumberNotGivenError(counted.last_number)
    return counted.last_number - number - counted.above, counted.last_event
