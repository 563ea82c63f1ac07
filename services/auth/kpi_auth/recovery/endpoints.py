"""Getting a new password where it was forgotten."""

from fastapi import APIRouter, Depends
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

router = APIRouter(prefix="/auth", tags=["auth"], dependencies=[Depends(no_store)])


@router.post("/forgot-password", status_code=202, responses=problems(TooManyAttemptsError, MailNotConfiguredError))
async def forgot_password(sent: PasswordForgotten, context: CurrentContext) -> Accepted:
    """Ask for a mail with a link to a new password. The answer is the same whether or not there is such an account."""
    await service.send_code(context, login=sent.login)
    return ACCEPTED


@router.post(
    "/reset-password",
    status_code=204,
    responses=problems(InvalidCodeError, NewPasswordRefusedError, HashingBusyError),
)
async def reset_password(sent: PasswordReset, context: CurrentContext) -> None:
    """Set a new password by the code of a mail. All sessions end; sign in with the new password then."""
    await service.reset(context, sent=sent)
