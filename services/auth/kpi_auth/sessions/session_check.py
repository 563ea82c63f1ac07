"""Checks in the database whether a token's session is still valid, for each request to this service with a token."""

from dataclasses import replace

from fastapi import Request
from kpi_shared.caller import Role, Scope, Subject
from kpi_shared.database import MAX_ID, AnyRow
from kpi_shared.errors import ForbiddenError, UnauthenticatedError
from kpi_shared.tokens import InvalidTokenError
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.api_keys import repository as api_keys
from kpi_auth.origin import API_KEY_ID
from kpi_auth.sessions import repository


async def check_session(request: Request, subject: Subject) -> Subject:
    """The caller with the current name and role, or InvalidTokenError (ASVS 5.0, 7.4.1 and 7.4.2).

    So in this service, ended sessions and API keys, closed accounts and changed roles take effect at once and not only
    when the token expires.
    """
    async with request.app.state.database.reading() as connection:
        row = await _find_current(connection, subject)
    if row is None:
        raise InvalidTokenError
    if subject.scopes is not None:
        request.scope[API_KEY_ID] = subject.api_key_id
    role = Role(row.role) if subject.may(Scope.ADMIN) else Role.USER
    return replace(subject, username=row.username, role=role)


async def check_again(connection: AsyncConnection, caller: Subject) -> None:
    """Check again that the caller's session or API key is valid and that an admin still has the role.

    Since the first check the request may have waited for a connection, or for a lock of the very transaction that
    removed the role.
    """
    row = await _find_current(connection, caller)
    if row is None:
        raise UnauthenticatedError("The session of this token has ended", invalid=True)
    if caller.is_admin and row.role != Role.ADMIN:
        raise ForbiddenError("Only an admin may do this")


async def _find_current(connection: AsyncConnection, subject: Subject) -> AnyRow | None:
    """The user's current name and role; None if the session or the key has ended or the account is closed."""
    key_id = subject.api_key_id
    if key_id is not None:
        return await api_keys.get_subject(connection, key_id=key_id, user_id=subject.id)
    return await repository.get_subject(connection, session_id=session_number(subject), user_id=subject.id)


def session_number(subject: Subject) -> int:
    """The session's id, or InvalidTokenError for an old token without a session, or that of an API key."""
    text = subject.session_id
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_ID)) and 0 < int(text) <= MAX_ID):
        raise InvalidTokenError
    return int(text)
