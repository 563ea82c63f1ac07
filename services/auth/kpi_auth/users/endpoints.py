"""The look at a user."""

from typing import Annotated

from fastapi import APIRouter, Path
from kpi_shared.database import MAX_ID, Reader
from kpi_shared.errors import UnauthenticatedError
from kpi_shared.openapi import problems
from kpi_shared.security import CurrentUser

from kpi_auth.users import repository
from kpi_auth.users.errors import UserNotFoundError
from kpi_auth.users.schemas import UserPrivate, UserPublic

router = APIRouter(prefix="/users", tags=["users"])

UserId = Annotated[int, Path(ge=1, le=MAX_ID)]


@router.get("/{user_id}", responses=problems(UnauthenticatedError, UserNotFoundError))
async def get_user(user_id: UserId, caller: CurrentUser, connection: Reader) -> UserPrivate | UserPublic:
    """A user: oneself and admins see the e-mail address too."""
    row = await repository.get_or_raise(connection, user_id=user_id)
    shown = UserPrivate if caller.is_admin or caller.id == user_id else UserPublic
    return shown.model_validate(row, from_attributes=True)
