"""Registration and the look at a user."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response
from kpi_shared.database import MAX_ID, Reader, Writer
from kpi_shared.errors import UnauthenticatedError
from kpi_shared.openapi import problems
from kpi_shared.security import CurrentUser

from kpi_auth.passwords.errors import HashingBusyError
from kpi_auth.passwords.hasher import Hasher
from kpi_auth.users import repository, service
from kpi_auth.users.errors import EmailTakenError, UsernameTakenError, UserNotFoundError
from kpi_auth.users.schemas import NewUser, UserCreate, UserPrivate, UserPublic

router = APIRouter(prefix="/users", tags=["users"])

UserId = Annotated[int, Path(ge=1, le=MAX_ID)]


async def _hashed(user: UserCreate, hasher: Hasher) -> NewUser:
    """Hashing comes before the transaction: dependencies are solved in the order of the parameters."""
    password_hash = await hasher.hash(user.password.get_secret_value())
    return NewUser(username=user.username, email=user.email, password_hash=password_hash)


HashedUser = Annotated[NewUser, Depends(_hashed)]


@router.post("", status_code=201, responses=problems(UsernameTakenError, EmailTakenError, HashingBusyError))
async def register(user: HashedUser, connection: Writer, response: Response) -> UserPrivate:
    """Register with a username, an e-mail address and a password."""
    row = await service.register(connection, user=user)
    response.headers["Location"] = f"/users/{row.id}"
    return UserPrivate.model_validate(row, from_attributes=True)


@router.get("/{user_id}", responses=problems(UnauthenticatedError, UserNotFoundError))
async def get_user(user_id: UserId, caller: CurrentUser, connection: Reader) -> UserPrivate | UserPublic:
    """A user: oneself and admins see the e-mail address too."""
    row = await repository.get_or_raise(connection, user_id=user_id)
    shown = UserPrivate if caller.is_admin or caller.id == user_id else UserPublic
    return shown.model_validate(row, from_attributes=True)
