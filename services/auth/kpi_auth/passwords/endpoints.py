"""Changing a password, and getting a new one where it was forgotten."""

from fastapi import APIRouter, Depends
from kpi_shared.errors import UnauthenticatedError
from kpi_shared.http.openapi import problems
from kpi_shared.security import CurrentUser

from kpi_auth.answers import ACCEPTED, Accepted, no_store
from kpi_auth.attempts.errors import TooManyAttemptsError
from kpi_auth.codes.errors import InvalidCodeError
from kpi_auth.mails.outbox import MailNotConfiguredError
from kpi_auth.passwords.errors import (
    HashingBusyError,
    NewPasswordRefusedError,
    PasswordChangedMeanwhileError,
    WrongPasswordError,
)
from kpi_auth.passwords.schemas import PasswordChange, PasswordForgotten, PasswordReset
from kpi_auth.passwords.service import PasswordsOfApp

router = APIRouter(prefix="/auth", tags=["auth"], dependencies=[Depends(no_store)])


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
async def change_password(sent: PasswordChange, caller: CurrentUser, passwords: PasswordsOfApp) -> None:
    """Change one's password. All other sessions of the account end, and all codes that were sent die."""
    await passwords.change(caller, sent)


@router.post("/forgot-password", status_code=202, responses=problems(TooManyAttemptsError, MailNotConfiguredError))
async def forgot_password(sent: PasswordForgotten, passwords: PasswordsOfApp) -> Accepted:
    """Ask for a mail with a link to a new password. The answer is the same whether or not there is such an account."""
    await passwords.send_code(sent.login)
    return ACCEPTED


@router.post(
    "/reset-password",
    status_code=204,
    responses=problems(InvalidCodeError, NewPasswordRefusedError, HashingBusyError),
)
async def reset_password(sent: PasswordReset, passwords: PasswordsOfApp) -> None:
    """Set a new password by the code of a mail. All sessions end; sign in with the new password then."""
    await passwords.reset(sent)
