"""Changing a password."""

from fastapi import Depends
from kpi_shared.errors import UnauthenticatedError
from kpi_shared.http.media_types import Router
from kpi_shared.http.openapi import problems
from kpi_shared.security import PersonAccess

from kpi_auth.attempts.errors import TooManyAttemptsError
from kpi_auth.context import CurrentContext
from kpi_auth.hashing.errors import HashingBusyError
from kpi_auth.passwords import service
from kpi_auth.passwords.errors import NewPasswordRefusedError, PasswordChangedMeanwhileError, WrongPasswordError
from kpi_auth.passwords.schemas import PasswordChange
from kpi_auth.responses import no_store

router = Router(prefix="/auth", tags=["auth"], dependencies=[Depends(no_store)])


@router.post(
    "/change-password",
    status_code=204,
    responses=problems(
        UnauthenticatedError,
        WrongPasswordError,
        PasswordChangedMeanwhileError,
        NewPasswordRefusedError,
        TooManyAttemptsError,
        HashingBusyError,
    ),
)
async def change_password(sent: PasswordChange, caller: PersonAccess, context: CurrentContext) -> None:
    """Change the caller's password. All other sessions of the account end, and codes sent by e-mail become invalid."""
    await service.change(context, caller=caller, sent=sent)
