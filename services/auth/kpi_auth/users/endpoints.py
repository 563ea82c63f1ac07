"""The look at users, and what they and admins change."""

from dataclasses import replace
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Depends, Query, Response
from kpi_shared.cursors import InvalidCursorError
from kpi_shared.database import Reader, Writer
from kpi_shared.errors import ForbiddenError, UnauthenticatedError
from kpi_shared.http.conditional import NOT_MODIFIED
from kpi_shared.http.openapi import problems
from kpi_shared.security import AdminUser, CurrentUser

from kpi_auth.answers import no_store
from kpi_auth.attempts.errors import TooManyAttemptsError
from kpi_auth.cursors import Cursors
from kpi_auth.passwords.errors import HashingBusyError, WrongPasswordError
from kpi_auth.users import changes, listing_repository, repository
from kpi_auth.users.answers import answer_to, page_answer, private_answer
from kpi_auth.users.cursors import decode
from kpi_auth.users.dependencies import EmailRulesOfApp, OfDeleted, ProvenPassword, SentAct, UserId
from kpi_auth.users.errors import (
    ChangedMeanwhileError,
    EmailTakenError,
    FieldNotYoursError,
    LastAdminError,
    NotDeletedError,
    NotYourAccountError,
    UsernameTakenError,
    UserNotFoundError,
)
from kpi_auth.users.etags import IfNoneMatch
from kpi_auth.users.listing import Listing, Position
from kpi_auth.users.schemas import (
    UserPage,
    UserPrivate,
    UserPublic,
    UserQuery,
    UserReplace,
    UserUpdate,
)

router = APIRouter(prefix="/users", tags=["users"])


class _Asked(NamedTuple):
    query: UserQuery
    listing: Listing
    after: Position | None


async def _asked(query: Annotated[UserQuery, Query()], caller: CurrentUser, cursors: Cursors) -> _Asked:
    """Everything that can be refused, before a connection is taken."""
    if query.admins_only and not caller.is_admin:
        raise FieldNotYoursError(query.admins_only, at="query")
    if query.cursor is not None and query.skip:
        raise InvalidCursorError("Either cursor or skip, not both")
    listing = replace(query.listing, by_admin=caller.is_admin)
    return _Asked(query, listing, decode(cursors, query.cursor, listing) if query.cursor else None)


_READ = problems(UnauthenticatedError, FieldNotYoursError, UserNotFoundError)
_CHANGED = problems(
    *(UnauthenticatedError, NotYourAccountError, FieldNotYoursError, UserNotFoundError),
    *(UsernameTakenError, EmailTakenError, LastAdminError, ChangedMeanwhileError),
)


@router.get(
    "",
    responses=problems(UnauthenticatedError, FieldNotYoursError, InvalidCursorError),
    dependencies=[Depends(no_store)],
)
async def list_users(asked: Annotated[_Asked, Depends(_asked)], cursors: Cursors, connection: Reader) -> UserPage:
    """The active users, page by page, with what everyone may see of them; for admins all users with all fields."""
    query, listing, after = asked
    rows = await listing_repository.page(
        connection, listing=listing, limit=query.limit + 1, skip=query.skip, after=after
    )
    total = await listing_repository.count(connection, listing=listing) if query.total else None
    return page_answer(rows, limit=query.limit, listing=listing, cursors=cursors, total=total)


@router.get("/{user_id}", responses=_READ | NOT_MODIFIED, response_model=UserPrivate | UserPublic)
async def get_user(
    user_id: UserId, caller: CurrentUser, if_none_match: IfNoneMatch, connection: Reader, deleted: OfDeleted = None
) -> Response:
    """A user: oneself and admins see all fields."""
    if deleted is not None and not caller.is_admin:
        raise FieldNotYoursError(["deleted"], at="query")
    row = await repository.get_visible_or_raise(connection, user_id=user_id, caller=caller, deleted=bool(deleted))
    return answer_to(caller, row, if_none_match=if_none_match)


@router.put("/{user_id}", responses=_CHANGED, response_model=UserPrivate)
async def replace_user(user: UserReplace, act: SentAct, rules: EmailRulesOfApp, connection: Writer) -> Response:
    """Replace username, full_name and bio, one's own or as an admin; an admin may also set email, role and is_active.

    What an admin leaves out of the latter stays as it is. Other services see a new username within minutes.
    """
    return private_answer(await changes.change(connection, act, wanted=user.changes, email_rules=rules))


@router.patch("/{user_id}", responses=_CHANGED, response_model=UserPrivate)
async def update_user(user: UserUpdate, act: SentAct, rules: EmailRulesOfApp, connection: Writer) -> Response:
    """Change some of username, full_name and bio, one's own or as an admin; an admin also email, role and is_active.

    A change of role or state ends the user's sessions.
    """
    return private_answer(await changes.change(connection, act, wanted=user.changes, email_rules=rules))


@router.delete(
    "/{user_id}",
    status_code=204,
    responses=problems(
        *(UnauthenticatedError, NotYourAccountError, WrongPasswordError, UserNotFoundError, LastAdminError),
        *(ChangedMeanwhileError, TooManyAttemptsError, HashingBusyError),
    ),
)
async def delete_user(act: SentAct, proven: ProvenPassword, connection: Writer) -> None:
    """Delete oneself with one's password, or another as an admin: nobody signs in, the names stay reserved."""
    await changes.delete(connection, act, proven=proven)


@router.post(
    "/{user_id}/restore",
    responses=problems(UnauthenticatedError, ForbiddenError, UserNotFoundError, NotDeletedError, ChangedMeanwhileError),
    response_model=UserPrivate,
)
async def restore_user(_admin: AdminUser, act: SentAct, connection: Writer) -> Response:
    """Give a deleted account back to its owner, active and with all that it had."""
    return private_answer(await changes.restore(connection, act))
