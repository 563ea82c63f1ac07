"""How sessions end when somebody wants it; each in the caller's transaction, and recorded."""

from typing import NamedTuple

from kpi_shared.caller import Subject
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.audit.models import Event
from kpi_auth.audit.origin import Origin
from kpi_auth.audit.service import record
from kpi_auth.sessions import repository
from kpi_auth.sessions.errors import SessionNotFoundError
from kpi_auth.sessions.models import EndReason
from kpi_auth.sessions.schemas import LogoutScope


class NamedSession(NamedTuple):
    """A session that a genuine token names."""

    id: int
    user_id: int


async def log_out(connection: AsyncConnection, caller: Subject, scope: LogoutScope, *, origin: Origin) -> None:
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
    await record(connection, Event.SIGNED_OUT, origin=origin, actor_id=caller.id, subject_id=caller.id, details=details)


async def end_own(connection: AsyncConnection, caller: Subject, session_id: int, *, origin: Origin) -> None:
    """SessionNotFoundError for a session that is another's or has ended."""
    if not await repository.end(connection, user_id=caller.id, session_id=session_id, reason=EndReason.LOGOUT):
        raise SessionNotFoundError
    details = {"session_ids": [session_id]}
    await record(connection, Event.SIGNED_OUT, origin=origin, actor_id=caller.id, subject_id=caller.id, details=details)


async def revoke(connection: AsyncConnection, session: NamedSession, *, origin: Origin) -> None:
    """By a token and nothing else, so that nobody is known to have done it."""
    if await repository.end(connection, user_id=session.user_id, session_id=session.id, reason=EndReason.REVOKED):
        details = {"session_ids": [session.id]}
        await record(connection, Event.SESSION_REVOKED, origin=origin, subject_id=session.user_id, details=details)


async def end_one_of(
    connection: AsyncConnection, user_id: int, session_id: int, admin: Subject, *, origin: Origin
) -> None:
    """SessionNotFoundError for a session that is not the user's or has ended."""
    if not await repository.end(connection, user_id=user_id, session_id=session_id, reason=EndReason.ADMIN):
        raise SessionNotFoundError
    details = {"session_ids": [session_id]}
    await record(
        connection, Event.SESSION_REVOKED, origin=origin, actor_id=admin.id, subject_id=user_id, details=details
    )


async def end_all_of(connection: AsyncConnection, user_id: int, admin: Subject, *, origin: Origin) -> None:
    ended = await repository.end_all(connection, user_id=user_id, reason=EndReason.ADMIN)
    details = {"session_ids": ended}
    await record(
        connection, Event.SESSION_REVOKED, origin=origin, actor_id=admin.id, subject_id=user_id, details=details
    )
