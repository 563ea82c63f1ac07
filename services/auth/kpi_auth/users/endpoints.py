"""Reading, changing, deleting and restoring users."""

from dataclasses import replace
from typing import Annotated, NamedTuple

from fastapi import Depends, Query, Response
from kpi_shared.cursors import InvalidCursorError
from kpi_shared.database import Reader, Writer
from kpi_shared.errors import ForbiddenError, UnauthenticatedError
from kpi_shared.http.conditional import NOT_MODIFIED, ChangedMeanwhileError
from kpi_shared.http.media_types import Router
from kpi_shared.http.openapi import problems
from kpi_shared.paging import Cursors, check_start, cut_page, decode_cursor, encode_cursor
from kpi_shared.security import AdminAccess, ReadAccess

from kpi_auth.accounts import list_repository
from kpi_auth.accounts import read_repository as repository
from kpi_auth.accounts.errors import EmailTakenError, UsernameTakenError, UserNotFoundError
from kpi_auth.accounts.filters import Position, UserFilter
from kpi_auth.attempts.errors import TooManyAttemptsError
from kpi_auth.context import CurrentContext
from kpi_auth.hashing.errors import HashingBusyError
from kpi_auth.passwords.errors import WrongPasswordError
from kpi_auth.responses import no_store
from kpi_auth.users import service
from kpi_auth.users.dependencies import ConfirmedHash, OfDeleted, SentUserRequest, UserId
from kpi_auth.users.errors import (
    FieldNotYoursError,
    LastAdminError,
    NotDeletedError,
    NotYourAccountError,
)
from kpi_auth.users.etags import IfNoneMatch
from kpi_auth.users.responses import page_response, position_of, private_response, user_response
from kpi_auth.users.schemas import UserPage, UserPrivate, UserPublic, UserQuery, UserReplace, UserUpdate

router = Router(prefix="/users", tags=["users"])
# The caller's own account.
me_router = Router(prefix="/auth", tags=["auth"], dependencies=[Depends(no_store)])


class _ListRequest(NamedTuple):
    query: UserQuery
    user_filter: UserFilter
    after: Position | None


async def _parse_list_request(
    query: Annotated[UserQuery, Query()], caller: ReadAccess, cursors: Cursors
) -> _ListRequest:
    """Validate the whole request before a connection is taken."""
    if query.admin_filters and not caller.is_admin:
        raise FieldNotYoursError(query.admin_filters, at="query")
    check_start(cursor=query.cursor, skip=query.skip)
    user_filter = replace(query.filter, by_admin=caller.is_admin)
    after = Position._make(decode_cursor(query.cursor, of=user_filter, sealer=cursors)) if query.cursor else None
    return _ListRequest(query, user_filter, after)


_READ = problems(UnauthenticatedError, FieldNotYoursError, UserNotFoundError)
_CHANGED = problems(
    *(UnauthenticatedError, NotYourAccountError, FieldNotYoursError, UserNotFoundError),
    *(UsernameTakenError, EmailTakenError, LastAdminError, ChangedMeanwhileError),
)


@me_router.get("/me", responses=problems(UnauthenticatedError) | NOT_MODIFIED, response_model=UserPrivate)
async def get_me(caller: ReadAccess, if_none_match: IfNoneMatch, connection: Reader) -> Response:
    """Return the signed-in user."""
    row = await repository.get(connection, user_id=caller.id)
    if row is None:
        raise UnauthenticatedError("The account of this token has been deactivated or deleted", invalid=True)
    return user_response(caller, row, if_none_match=if_none_match)


@router.get(
    "",
    responses=problems(UnauthenticatedError, FieldNotYoursError, InvalidCursorError),
    dependencies=[Depends(no_store)],
)
async def list_users(
    request: Annotated[_ListRequest, Depends(_parse_list_request)], cursors: Cursors, connection: Reader
) -> UserPage:
    """List the active users with their public fields; for admins, all users with all fields."""
    query, user_filter, after = request
    rows = await list_repository.get_page(
        connection, user_filter=user_filter, limit=query.limit + 1, skip=query.skip, after=after
    )
    total = await list_repository.count(connection, user_filter=user_filter) if query.total else None
    page = cut_page(
        rows,
        limit=query.limit,
        cursor_after=lambda row: encode_cursor(position_of(row, user_filter), of=user_filter, sealer=cursors),
    )
    return page_response(page, user_filter=user_filter, total=total)


@router.get("/{user_id}", responses=_READ | NOT_MODIFIED, response_model=UserPrivate | UserPublic)
async def get_user(
    user_id: UserId, caller: ReadAccess, if_none_match: IfNoneMatch, connection: Reader, deleted: OfDeleted = None
) -> Response:
    """Return a user: with all fields for the user and for admins, with the public fields for others."""
    if deleted is not None and not caller.is_admin:
        raise FieldNotYoursError(["deleted"], at="query")
    row = await repository.get_visible_or_raise(connection, user_id=user_id, caller=caller, deleted=bool(deleted))
    return user_response(caller, row, if_none_match=if_none_match)


@router.put("/{user_id}", responses=_CHANGED, response_model=UserPrivate)
async def replace_user(
    user: UserReplace, request: SentUserRequest, context: CurrentContext, connection: Writer
) -> Response:
    """Replace username, full_name and bio of your own account, or of any account as an admin.

    An admin may also set email, role and is_active; these stay unchanged if they are left out. Other services
    show a new username within about a second. A change of role or state ends the user's sessions.
    """
    return private_response(await service.change(context, connection, request=request, wanted=user.changes))


@router.patch("/{user_id}", responses=_CHANGED, response_model=UserPrivate)
async def update_user(
    user: UserUpdate, request: SentUserRequest, context: CurrentContext, connection: Writer
) -> Response:
    """Change username, full_name or bio of your own account, or of any account as an admin.

    An admin may also change email, role and is_active. A change of role or state ends the user's sessions.
    """
    return private_response(await service.change(context, connection, request=request, wanted=user.changes))


@router.delete(
    "/{user_id}",
    status_code=204,
    responses=problems(
        *(UnauthenticatedError, NotYourAccountError, WrongPasswordError, UserNotFoundError, LastAdminError),
        *(ChangedMeanwhileError, TooManyAttemptsError, HashingBusyError),
    ),
)
async def delete_user(
    request: SentUserRequest, confirmed: ConfirmedHash, context: CurrentContext, connection: Writer
) -> None:
    """Delete your own account (the password is required), or another account as an admin.

    Sign-in is no longer possible; the username and the e-mail address stay reserved.
    """
    await service.delete(context, connection, request=request, confirmed_hash=confirmed)


@router.post(
    "/{user_id}/restore",
    responses=problems(UnauthenticatedError, ForbiddenError, UserNotFoundError, NotDeletedError, ChangedMeanwhileError),
    response_model=UserPrivate,
)
async def restore_user(
    _admin: AdminAccess, request: SentUserRequest, context: CurrentContext, connection: Writer
) -> Response:
    """Restore a deleted account with all its data, and activate it."""
    return private_response(await service.restore(context, connection, request=request))
