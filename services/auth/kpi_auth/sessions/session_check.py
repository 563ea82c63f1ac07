"""Does a token's session still stand? Asked of the database, for each request to this service that carries a token."""

from dataclasses import replace

from fastapi import Request
from kpi_shared.caller import Role, Subject
from kpi_shared.database import MAX_ID
from kpi_shared.tokens import InvalidTokenError

from kpi_auth.sessions import repository


async def check_session(request: Request, subject: Subject) -> Subject:
    """The caller with the name and the role of now, or InvalidTokenError (ASVS 5.0, 7.4.1 and 7.4.2).

    So here an ended session, a closed account and a role that was taken away count at once, and not only when the
    token expires.
    """
    async with request.app.state.database.reading() as connection:
        row = await repository.subject(connection, session_id=session_number(subject), user_id=subject.id)
    if row is None:
        raise InvalidTokenError
    return replace(subject, username=row.username, role=Role(row.role))


def session_number(subject: Subject) -> int:
    """The session's id, or InvalidTokenError for a token that was made before there were sessions."""
    text = subject.session_id
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_ID)) and 0 < int(text) <= MAX_ID):
        raise InvalidTokenError
    return int(text)
