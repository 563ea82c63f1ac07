"""Signing in and out, refreshing tokens, and listing and ending sessions."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response
from kpi_shared.caller import Subject
from kpi_shared.database import MAX_ID, Reader, Writer
from kpi_shared.errors import ForbiddenError, UnauthenticatedError
from kpi_shared.http.media_types import Router, UnsupportedMediaTypeError
from kpi_shared.http.openapi import problems
from kpi_shared.integers import Decimal
from kpi_shared.security import AdminAccess, PersonAccess, PersonRequiredError, require_person

from kpi_auth.accounts.errors import UserNotFoundError
from kpi_auth.accounts.read_repository import get_or_raise as get_user_or_raise
from kpi_auth.attempts.errors import TooManyAttemptsError
from kpi_auth.context import CurrentContext
from kpi_auth.hashing.errors import HashingBusyError
from kpi_auth.hashing.hasher import RoomToHash
from kpi_auth.oauth.documents import form_body, oauth_problems
from kpi_auth.oauth.routes import TokenRoute
from kpi_auth.responses import no_store
from kpi_auth.sessions import ending, repository, service
from kpi_auth.sessions.errors import InvalidCredentialsError, SessionNotFoundError
from kpi_auth.sessions.responses import session_list
from kpi_auth.sessions.schemas import (
    Logout,
    LogoutScope,
    Refresh,
    SentGrant,
    SentRefresh,
    SentRevocation,
    SessionList,
    SessionTokens,
)
from kpi_auth.sessions.session_check import session_number
from kpi_auth.sessions.sign_in import sign_in_with_password
from kpi_auth.tokens.errors import InvalidRefreshTokenError

Id = Annotated[Decimal, Path(ge=1, le=MAX_ID)]


token_router = APIRouter(prefix="/auth", tags=["auth"], dependencies=[Depends(no_store)], route_class=TokenRoute)
router = Router(prefix="/auth", tags=["auth"], dependencies=[Depends(no_store)])
# For admins: the sessions of any user.
admin_router = Router(prefix="/users/{user_id}/sessions", tags=["users"], dependencies=[Depends(no_store)])


_CREDENTIALS = form_body("Credentials", example={"username": "anna", "password": "a quiet red bicycle"})


# Older clients send JSON to an address of its own.
@token_router.post("/login/json", include_in_schema=False, openapi_extra=_CREDENTIALS)
@token_router.post(
    "/login",
    responses=oauth_problems(
        InvalidCredentialsError,
        InvalidRefreshTokenError,
        UnsupportedMediaTypeError,
        TooManyAttemptsError,
        HashingBusyError,
    ),
    openapi_extra=_CREDENTIALS,
)
async def login(_room: RoomToHash, sent: SentGrant, context: CurrentContext) -> SessionTokens:
    """Sign in with a username or an e-mail address, and a password. This is the OAuth2 token URL.

    With `grant_type=refresh_token` it takes a `refresh_token` instead, as `POST /auth/refresh` does.
    """
    if isinstance(sent, Refresh):
        return await service.refresh(context, token=sent.refresh_token)
    return await sign_in_with_password(context, credentials=sent)


@token_router.post(
    "/refresh",
    responses=oauth_problems(InvalidRefreshTokenError, UnsupportedMediaTypeError),
    openapi_extra=form_body("Refresh", example={"refresh_token": "the refresh_token of the last response"}),
)
async def refresh(sent: SentRefresh, context: CurrentContext) -> SessionTokens:
    """Exchange a refresh token for new tokens. A refresh token is valid once.

    A token sent again gets the same successor until that is used; later reuse ends the session.
    """
    return await service.refresh(context, token=sent.refresh_token)


@router.get("/sessions", responses=problems(UnauthenticatedError))
async def list_sessions(caller: PersonAccess, context: CurrentContext, connection: Reader) -> SessionList:
    """List the caller's active sessions, newest first."""
    rows = await repository.list_active(
        connection, user_id=caller.id, current=session_number(caller), lifetimes=context.lifetimes
    )
    return session_list(rows)


@router.delete(
    "/sessions/{session_id}", status_code=204, responses=problems(UnauthenticatedError, SessionNotFoundError)
)
async def end_session(session_id: Id, caller: PersonAccess, context: CurrentContext, connection: Writer) -> None:
    """End one of the caller's sessions."""
    await ending.end_own(context, connection, caller=caller, session_id=session_id)


@router.post("/logout", status_code=204, responses=problems(UnauthenticatedError))
async def logout(
    caller: PersonAccess,
    context: CurrentContext,
    connection: Writer,
    body: Logout | None = None,
    scope: LogoutScope = LogoutScope.LOCAL,
) -> None:
    """End the current session, the other sessions, or all; ``scope`` is a query parameter or a JSON member."""
    chosen = body.scope if body is not None and body.model_fields_set else scope
    await ending.log_out(context, connection, caller=caller, scope=chosen)


@token_router.post(
    "/revoke",
    response_class=Response,
    response_description="The session has ended, or the token is unknown. The body is empty.",
    responses=oauth_problems(UnsupportedMediaTypeError),
    openapi_extra=form_body("Revocation", example={"token": "a refresh or access token"}),
)
async def revoke(sent: SentRevocation, context: CurrentContext) -> Response:
    """End the session of a refresh or access token (RFC 7009). An unknown token is not an error."""
    await ending.revoke(context, token=sent.token)
    return Response(headers={"Cache-Control": "no-store"})


_ADMIN = problems(UnauthenticatedError, ForbiddenError, PersonRequiredError, UserNotFoundError)


async def _session_admin(user_id: Id, admin: AdminAccess) -> Subject:
    """An admin, who uses no API key for sessions of the own account."""
    if user_id == admin.id:
        require_person(admin)
    return admin


SessionAdmin = Annotated[Subject, Depends(_session_admin)]


@admin_router.get("", responses=_ADMIN)
async def list_sessions_of_user(
    user_id: Id, admin: SessionAdmin, context: CurrentContext, connection: Reader
) -> SessionList:
    """List the active sessions of a user, newest first."""
    await get_user_or_raise(connection, user_id=user_id)
    # A key has no session.
    current = session_number(admin) if admin.api_key_id is None else 0
    rows = await repository.list_active(connection, user_id=user_id, current=current, lifetimes=context.lifetimes)
    return session_list(rows)


@admin_router.delete("", status_code=204, responses=_ADMIN)
async def end_sessions_of_user(user_id: Id, admin: SessionAdmin, context: CurrentContext, connection: Writer) -> None:
    """End all sessions of a user."""
    await get_user_or_raise(connection, user_id=user_id)
    await ending.end_all_of(context, connection, user_id=user_id, admin=admin)


@admin_router.delete(
    "/{session_id}", status_code=204, responses=_ADMIN | problems(UserNotFoundError, SessionNotFoundError)
)
async def end_session_of_user(
    user_id: Id, session_id: Id, admin: SessionAdmin, context: CurrentContext, connection: Writer
) -> None:
    """End one session of a user."""
    await ending.end_one_of(context, connection, user_id=user_id, session_id=session_id, admin=admin)
