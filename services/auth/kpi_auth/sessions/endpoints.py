"""Signing in, and who is signed in."""

from fastapi import APIRouter, Request, Response
from kpi_shared.database import DatabaseOfApp, Reader
from kpi_shared.errors import UnauthenticatedError
from kpi_shared.openapi import problems
from kpi_shared.security import CurrentUser, Tokens

from kpi_auth.passwords.errors import HashingBusyError
from kpi_auth.passwords.hasher import Hasher
from kpi_auth.sessions import service
from kpi_auth.sessions.errors import InvalidCredentialsError, UnsupportedMediaTypeError
from kpi_auth.sessions.schemas import CREDENTIALS_BODY, AccessToken, SentCredentials
from kpi_auth.users import repository
from kpi_auth.users.schemas import UserPrivate

router = APIRouter(prefix="/auth", tags=["auth"])


@router.post(
    "/login",
    responses=problems(InvalidCredentialsError, UnsupportedMediaTypeError, HashingBusyError),
    openapi_extra=CREDENTIALS_BODY,
)
async def login(
    credentials: SentCredentials,
    database: DatabaseOfApp,
    hasher: Hasher,
    tokens: Tokens,
    request: Request,
    response: Response,
) -> AccessToken:
    """Sign in with a username or an e-mail address and a password, as an OAuth2 form or as JSON."""
    password = credentials.password.get_secret_value()
    # A hash takes some 20 ms, so no connection is held while one is made.
    async with database.reading() as connection:
        found = await repository.find_by_login(connection, login=credentials.login)
    account = await service.verified(found, password=password, hasher=hasher)
    stronger = await service.stronger_hash(account, password=password, hasher=hasher)
    if stronger and account.password_hash:
        async with database.writing() as connection:
            await repository.replace_hash(connection, user_id=account.id, old=account.password_hash, new=stronger)
    response.headers["Cache-Control"] = "no-store"
    minutes = request.app.state.settings.access_token_expire_minutes
    return service.open_session(account, tokens=tokens, minutes=minutes)


@router.get("/me", responses=problems(UnauthenticatedError))
async def get_me(caller: CurrentUser, connection: Reader) -> UserPrivate:
    """The user whom the token speaks for."""
    row = await repository.get(connection, user_id=caller.id)
    if row is None or not row.is_active:
        raise UnauthenticatedError("The account of this token is closed", invalid=True)
    return UserPrivate.model_validate(row, from_attributes=True)
