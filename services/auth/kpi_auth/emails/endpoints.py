"""Verifying an e-mail address, and changing it."""

from fastapi import Depends
from kpi_shared.errors import UnauthenticatedError
from kpi_shared.http.media_types import Router
from kpi_shared.http.openapi import problems
from kpi_shared.security import PersonAccess

from kpi_auth.attempts.errors import TooManyAttemptsError
from kpi_auth.codes.errors import InvalidCodeError
from kpi_auth.context import CurrentContext
from kpi_auth.emails import service
from kpi_auth.emails.errors import SameEmailError
from kpi_auth.emails.schemas import EmailChange, Verification, VerificationWanted
from kpi_auth.hashing.errors import HashingBusyError
from kpi_auth.mails.errors import MailNotConfiguredError
from kpi_auth.passwords.errors import WrongPasswordError
from kpi_auth.responses import ACCEPTED, Accepted, no_store

router = Router(prefix="/auth", tags=["auth"], dependencies=[Depends(no_store)])


@router.post("/verify-email", status_code=204, responses=problems(InvalidCodeError))
async def verify_email(sent: Verification, context: CurrentContext) -> None:
    """Verify the account's e-mail address, or confirm a new one, with the code of an e-mail."""
    await service.redeem(context, code=sent.code)


@router.post("/resend-verification", status_code=202, responses=problems(TooManyAttemptsError, MailNotConfiguredError))
async def resend_verification(sent: VerificationWanted, context: CurrentContext) -> Accepted:
    """Send another e-mail to verify an address. The response is the same whether or not the account exists."""
    await service.send_again(context, login=sent.login)
    return ACCEPTED


@router.post(
    "/change-email",
    status_code=202,
    responses=problems(
        UnauthenticatedError,
        WrongPasswordError,
        SameEmailError,
        TooManyAttemptsError,
        MailNotConfiguredError,
        HashingBusyError,
    ),
)
async def change_email(sent: EmailChange, caller: PersonAccess, context: CurrentContext) -> Accepted:
    """Send an e-mail to the new address, which must be confirmed before it is used; the old address is notified."""
    await service.request_change(context, caller=caller, sent=sent)
    return ACCEPTED
