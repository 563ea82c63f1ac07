"""Sharing a conversation: who may do it, and that an owner stays."""

from kpi_shared.caller import Subject
from kpi_shared.http.conditional import Condition
from kpi_shared.records.responses import check_version
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_content.authors import repository as authors
from kpi_content.conversations import event_repository as events
from kpi_content.conversations import member_repository as members
from kpi_content.conversations import repository
from kpi_content.conversations.errors import (
    AlreadyMemberError,
    ConversationNotFoundError,
    LastOwnerError,
    MemberLimitError,
    MemberNotFoundError,
    UnknownUserError,
)
from kpi_content.conversations.models import MemberRole
from kpi_content.conversations.rights import require_owner
from kpi_content.conversations.rows import MemberRow
from kpi_content.conversations.schemas import MemberAdd

# Deleting a message or the conversation writes the rows of all of them.
MAX_MEMBERS = 1000


async def add(connection: AsyncConnection, *, conversation_id: int, wanted: MemberAdd, caller: Subject) -> MemberRow:
    """ConversationNotFoundError, NotAnOwnerError, UnknownUserError, AlreadyMemberError or MemberLimitError."""
    locked = await repository.lock(connection, conversation_id=conversation_id, caller_id=caller.id)
    require_owner(locked.role)
    user_id = await _find_account(connection, wanted)
    is_full = await members.count(connection, conversation_id=conversation_id) >= MAX_MEMBERS
    if not await members.add(connection, conversation_id=conversation_id, user_id=user_id, role=wanted.role):
        raise AlreadyMemberError
    if is_full:
        raise MemberLimitError
    await events.record(
        connection, conversation_id=conversation_id, kind="member.added", user_id=user_id, role=wanted.role
    )
    return await members.read(connection, conversation_id=conversation_id, user_id=user_id)


async def check_owner(connection: AsyncConnection, *, conversation_id: int, caller: Subject) -> None:
    """ConversationNotFoundError or NotAnOwnerError."""
    role = await members.find_role(connection, conversation_id=conversation_id, user_id=caller.id)
    if role is None:
        raise ConversationNotFoundError
    require_owner(role)


async def _find_account(connection: AsyncConnection, wanted: MemberAdd) -> int:
    if wanted.user_id is not None:
        found = wanted.user_id if await authors.exists(connection, author_id=wanted.user_id) else None
    else:
        found = await authors.find_by_name(connection, username=wanted.username or "")
    if found is None:
        raise UnknownUserError("username" if wanted.user_id is None else "user_id")
    return found


async def change_role(
    connection: AsyncConnection,
    *,
    conversation_id: int,
    user_id: int,
    role: MemberRole,
    caller: Subject,
    condition: Condition | None = None,
) -> MemberRow:
    """ConversationNotFoundError, NotAnOwnerError, MemberNotFoundError or LastOwnerError.

    ChangedMeanwhileError if the condition fails.
    """
    locked = await repository.lock(connection, conversation_id=conversation_id, caller_id=caller.id)
    require_owner(locked.role)
    former = await _get_role(connection, conversation_id=conversation_id, user_id=user_id)
    await _check_version(connection, condition, conversation_id=conversation_id, user_id=user_id)
    if former is not role:
        if former is MemberRole.OWNER:
            await _require_other_owner(connection, conversation_id=conversation_id, user_id=user_id)
        await members.change_role(connection, conversation_id=conversation_id, user_id=user_id, role=role)
        await repository.replace_owner(connection, conversation_id=conversation_id, user_id=user_id)
        await events.record(
            connection, conversation_id=conversation_id, kind="member.changed", user_id=user_id, role=role
        )
    return await members.read(connection, conversation_id=conversation_id, user_id=user_id)


async def remove(
    connection: AsyncConnection,
    *,
    conversation_id: int,
    user_id: int,
    caller: Subject,
    condition: Condition | None = None,
) -> None:
    """Remove a member, or leave; errors as above."""
    locked = await repository.lock(connection, conversation_id=conversation_id, caller_id=caller.id)
    if user_id != caller.id:
        require_owner(locked.role)
    role = await _get_role(connection, conversation_id=conversation_id, user_id=user_id)
    await _check_version(connection, condition, conversation_id=conversation_id, user_id=user_id)
    if role is MemberRole.OWNER:
        await _require_other_owner(connection, conversation_id=conversation_id, user_id=user_id)
    await members.remove(connection, conversation_id=conversation_id, user_id=user_id)
    await repository.replace_owner(connection, conversation_id=conversation_id, user_id=user_id)
    await events.record(connection, conversation_id=conversation_id, kind="member.removed", user_id=user_id)


async def _get_role(connection: AsyncConnection, *, conversation_id: int, user_id: int) -> MemberRole:
    role = await members.find_role(connection, conversation_id=conversation_id, user_id=user_id)
    if role is None:
        raise MemberNotFoundError
    return role


async def _check_version(
    connection: AsyncConnection, condition: Condition | None, *, conversation_id: int, user_id: int
) -> None:
    """Compare under the lock, so that of two writers with the same tag only one succeeds."""
    if condition is not None:
        row = await members.read(connection, conversation_id=conversation_id, user_id=user_id)
        check_version(condition, row)


async def _require_other_owner(connection: AsyncConnection, *, conversation_id: int, user_id: int) -> None:
    if not await members.has_other_owner(connection, conversation_id=conversation_id, user_id=user_id):
        raise LastOwnerError
