"""Resetting a forgotten password."""

from fastapi import Depends
from kpi_shared.http.media_types import Router
from kpi_shared.http.openapi import problems

from kpi_auth.attempts.errors import TooManyAttemptsError
from kpi_auth.codes.errors import InvalidCodeError
from kpi_auth.context import CurrentContext
from kpi_auth.hashing.errors import HashingBusyError
from kpi_auth.mails.errors import MailNotConfiguredError
from kpi_auth.passwords.errors import NewPasswordRefusedError
from kpi_auth.recovery import service
from kpi_auth.recovery.schemas import PasswordForgotten, PasswordReset
from kpi_auth.responses import ACCEPTED, Accepted, no_store

router = Router(prefix="/auth", tags=["auth"], dependencies=[Depends(no_store)])


@router.post("/forgot-password", status_code=202, responses=problems(TooManyAttemptsError, MailNotConfiguredError))
async def forgot_password(sent: PasswordForgotten, context: CurrentContext) -> Accepted:
    """Send an e-mail with a link to set a new password. The response is the same whether or not the account exists."""
    await service.send_code(context, login=sent.login)
    return ACCEPTED


@router.post(
    "/reset-password",
    status_code=204,
    responses=problems(InvalidCodeError, NewPasswordRefusedError, HashingBusyError),
)
async def reset_password(sent: PasswordReset, context: CurrentContext) -> None:
    """Set a new password with the code of an e-mail. All sessions end; sign in with the new password afterwards."""
    await service.reset(context, sent=sent)
