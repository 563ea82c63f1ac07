"""Ending sessions on request. Each ending is recorded in the same transaction."""

from kpi_shared.caller import Subject
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.audit.models import Event
from kpi_auth.audit.service import record, record_own
from kpi_auth.context import Context
from kpi_auth.sessions import repository
from kpi_auth.sessions.errors import SessionNotFoundError
from kpi_auth.sessions.models import EndReason
from kpi_auth.sessions.schemas import LogoutScope
from kpi_auth.sessions.service import find_by_token


async def log_out(context: Context, connection: AsyncConnection, *, caller: Subject, scope: LogoutScope) -> None:
    own = int(caller.session_id)
    if scope is LogoutScope.LOCAL:
        await repository.end(connection, user_id=caller.id, session_id=own, reason=EndReason.LOGOUT)
        ended = [own]
    else:
        spared = own if scope is LogoutScope.OTHERS else None
        ended = await repository.end_all(connection, user_id=caller.id, reason=EndReason.LOGOUT, spared=spared)
    if not ended:
        return
    details = {"scope": scope.value, "session_ids": ended}
    await record_own(context, connection, Event.SIGNED_OUT, user_id=caller.id, details=details)


async def end_own(context: Context, connection: AsyncConnection, *, caller: Subject, session_id: int) -> None:
    """SessionNotFoundError if the session belongs to another user or has ended."""
    if not await repository.end(connection, user_id=caller.id, session_id=session_id, reason=EndReason.LOGOUT):
        raise SessionNotFoundError
    details = {"session_ids": [session_id]}
    await record_own(context, connection, Event.SIGNED_OUT, user_id=caller.id, details=details)


async def revoke(context: Context, *, token: str) -> None:
    """End the session of the token; a token that is not genuine is ignored (RFC 7009)."""
    session = await find_by_token(context, token=token)
    if session is None:
        return
    async with context.database.writing() as connection:
        if await repository.end(connection, user_id=session.user_id, session_id=session.id, reason=EndReason.REVOKED):
            # A token is the only proof here, so the actor is unknown.
            details = {"session_ids": [session.id]}
            await record(context, connection, Event.SESSION_REVOKED, subject_id=session.user_id, details=details)


async def end_one_of(
    context: Context, connection: AsyncConnection, *, user_id: int, session_id: int, admin: Subject
) -> None:
    """SessionNotFoundError if the session is not the user's or has ended."""
    if not await repository.end(connection, user_id=user_id, session_id=session_id, reason=EndReason.ADMIN):
        raise SessionNotFoundError
    details = {"session_ids": [session_id]}
    await record(context, connection, Event.SESSION_REVOKED, actor_id=admin.id, subject_id=user_id, details=details)


async def end_all_of(context: Context, connection: AsyncConnection, *, user_id: int, admin: Subject) -> None:
    ended = await repository.end_all(connection, user_id=user_id, reason=EndReason.ADMIN)
    await record(
        context,
        connection,
        Event.SESSION_REVOKED,
        actor_id=admin.id,
        subject_id=user_id,
        details={"session_ids": ended},
    )
