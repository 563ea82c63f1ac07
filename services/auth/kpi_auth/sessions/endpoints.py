"""Signing in and out, the tokens in between, and who is signed in where."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response
from kpi_shared.database import MAX_ID, DatabaseOfApp, Reader, Writer
from kpi_shared.errors import ForbiddenError, UnauthenticatedError
from kpi_shared.http.conditional import NOT_MODIFIED
from kpi_shared.http.openapi import problems
from kpi_shared.security import AdminUser, CurrentUser

from kpi_auth.answers import no_store
from kpi_auth.attempts.errors import TooManyAttemptsError
from kpi_auth.audit.origin import RequestOrigin
from kpi_auth.passwords.errors import HashingBusyError
from kpi_auth.passwords.hasher import RoomToHash
from kpi_auth.sessions import ending
from kpi_auth.sessions.errors import (
    InvalidCredentialsError,
    InvalidRefreshTokenError,
    SessionNotFoundError,
    UnsupportedMediaTypeError,
)
from kpi_auth.sessions.schemas import (
    Credentials,
    Logout,
    LogoutScope,
    Refresh,
    Revocation,
    SentCredentials,
    SentRefresh,
    SentRevocation,
    SessionList,
    SessionTokens,
    body_of,
)
from kpi_auth.sessions.service import SessionsOfApp
from kpi_auth.sessions.sign_in import SigningIn
from kpi_auth.users.answers import answer_to
from kpi_auth.users.errors import UserNotFoundError
from kpi_auth.users.etags import IfNoneMatch
from kpi_auth.users.repository import get as get_user
from kpi_auth.users.repository import get_or_raise as get_user_or_raise
from kpi_auth.users.schemas import UserPrivate

Id = Annotated[int, Path(ge=1, le=MAX_ID)]


router = APIRouter(prefix="/auth", tags=["auth"], dependencies=[Depends(no_store)])
# What an admin does with another's sessions.
admin_router = APIRouter(prefix="/users/{user_id}/sessions", tags=["users"], dependencies=[Depends(no_store)])


@router.post(
    "/login",
    responses=problems(InvalidCredentialsError, UnsupportedMediaTypeError, TooManyAttemptsError, HashingBusyError),
    openapi_extra=body_of(Credentials),
)
async def login(_room: RoomToHash, credentials: SentCredentials, sign_in: SigningIn) -> SessionTokens:
    """Sign in with a username or an e-mail address and a password, as an OAuth2 form or as JSON."""
    return await sign_in.with_password(credentials)


@router.post(
    "/refresh",
    responses=problems(InvalidRefreshTokenError, UnsupportedMediaTypeError),
    openapi_extra=body_of(Refresh),
)
async def refresh(
    sent: SentRefresh, database: DatabaseOfApp, sessions: SessionsOfApp, origin: RequestOrigin
) -> SessionTokens:
    """The next pair of tokens for a refresh token, which counts once.

    Presented again within seconds it gets the same successor; later it ends its session.
    """
    return await sessions.refresh(database, sent.refresh_token, origin=origin)


@router.get("/me", responses=problems(UnauthenticatedError) | NOT_MODIFIED, response_model=UserPrivate)
async def get_me(caller: CurrentUser, if_none_match: IfNoneMatch, connection: Reader) -> Response:
    """The user whom the token speaks for."""
    row = await get_user(connection, user_id=caller.id)
    if row is None:
        raise UnauthenticatedError("The account of this token is closed", invalid=True)
    return answer_to(caller, row, if_none_match=if_none_match)


@router.get("/sessions", responses=problems(UnauthenticatedError))
async def list_sessions(caller: CurrentUser, sessions: SessionsOfApp, connection: Reader) -> SessionList:
    """Where one is signed in, the newest first."""
    return await sessions.living(connection, user_id=caller.id, caller=caller)


@router.delete(
    "/sessions/{session_id}", status_code=204, responses=problems(UnauthenticatedError, SessionNotFoundError)
)
async def end_session(session_id: Id, caller: CurrentUser, origin: RequestOrigin, connection: Writer) -> None:
    """End one of one's own sessions."""
    await ending.end_own(connection, caller, session_id, origin=origin)


@router.post("/logout", status_code=204, responses=problems(UnauthenticatedError))
async def logout(
    caller: CurrentUser,
    origin: RequestOrigin,
    connection: Writer,
    body: Logout | None = None,
    scope: LogoutScope = LogoutScope.LOCAL,
) -> None:
    """End this session, the others, or all; ``scope`` stands in the address or in a body of JSON."""
    chosen = body.scope if body is not None and body.model_fields_set else scope
    await ending.log_out(connection, caller, chosen, origin=origin)


@router.post(
    "/revoke",
    response_class=Response,
    responses=problems(UnsupportedMediaTypeError),
    openapi_extra=body_of(Revocation),
)
async def revoke(
    sent: SentRevocation, database: DatabaseOfApp, sessions: SessionsOfApp, origin: RequestOrigin
) -> Response:
    """End the session of a refresh or an access token (RFC 7009). An unknown token is no error: it does not count."""
    session = await sessions.named_by(database, sent.token)
    if session is not None:
        async with database.writing() as connection:
            await ending.revoke(connection, session, origin=origin)
    return Response(headers={"Cache-Control": "no-store"})


_ADMIN = problems(UnauthenticatedError, ForbiddenError, UserNotFoundError)


@admin_router.get("", responses=_ADMIN)
async def list_sessions_of_user(
    user_id: Id, admin: AdminUser, sessions: SessionsOfApp, connection: Reader
) -> SessionList:
    """Where a user is signed in."""
    await get_user_or_raise(connection, user_id=user_id)
    return await sessions.living(connection, user_id=user_id, caller=admin)


@admin_router.delete("", status_code=204, responses=_ADMIN)
async def end_sessions_of_user(user_id: Id, admin: AdminUser, origin: RequestOrigin, connection: Writer) -> None:
    """End all sessions of a user."""
    await get_user_or_raise(connection, user_id=user_id)
    await ending.end_all_of(connection, user_id, admin, origin=origin)


@admin_router.delete(
    "/{session_id}", status_code=204, responses=_ADMIN | problems(UserNotFoundError, SessionNotFoundError)
)
async def end_session_of_user(
    user_id: Id, session_id: Id, admin: AdminUser, origin: RequestOrigin, connection: Writer
) -> None:
    """End one session of a user."""
    await ending.end_one_of(connection, user_id, session_id, admin, origin=origin)
