"""Verifying an e-mail address, and changing it."""

from kpi_shared.caller import Subject
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.accounts import email_repository as repository
from kpi_auth.accounts.models import PasswordOwner
from kpi_auth.accounts.write_repository import lock_open
from kpi_auth.attempts.limits import mail_limits
from kpi_auth.attempts.service import admit
from kpi_auth.audit.models import Event
from kpi_auth.audit.service import record, record_own
from kpi_auth.codes import mailing
from kpi_auth.codes import service as codes
from kpi_auth.codes.errors import InvalidCodeError
from kpi_auth.codes.mailing import Addressee
from kpi_auth.codes.models import Purpose
from kpi_auth.codes.service import RedeemedCode
from kpi_auth.context import Context
from kpi_auth.emails.errors import AddressHeldError, SameEmailError
from kpi_auth.emails.schemas import EmailChange
from kpi_auth.mails import outbox
from kpi_auth.mails.outbox import Mail, Template
from kpi_auth.passwords.confirmation import confirm_password
from kpi_auth.passwords.errors import WrongPasswordError

_PURPOSES = (Purpose.VERIFY_EMAIL, Purpose.CHANGE_EMAIL)


async def redeem(context: Context, *, code: str) -> None:
    """Verify or change the address, as the code's purpose says; raises InvalidCodeError or AddressHeldError."""
    async with context.database.reading() as connection:
        found = await codes.check(connection, code=code, purposes=_PURPOSES)
    async with context.database.writing() as connection:
        # Every transaction locks the user's row before codes, so that no deadlock is possible.
        locked = await lock_open(connection, user_id=found.user_id)
        if locked is None:
            raise InvalidCodeError
        redeemed = await codes.redeem(connection, code=code, purposes=_PURPOSES)
        if redeemed.purpose is Purpose.CHANGE_EMAIL:
            await _change(context, connection, redeemed, username=locked.username, old=locked.notice_email)
        else:
            await _verify(context, connection, redeemed)


async def send_again(context: Context, *, login: str) -> None:
    """Send another code if the account has an address to verify; the same work is done in either case."""
    outbox.require_enabled(context)
    await admit(context, *mail_limits(context))
    async with context.database.writing() as connection:
        found = await repository.find_unverified(connection, login=login)
        await record(
            context,
            connection,
            Event.EMAIL_VERIFICATION_SENT,
            subject_id=found.id if found else None,
            details={"sent": found is not None},
        )
        to = Addressee(*found) if found else None
        await mailing.send_or_simulate(context, connection, purpose=Purpose.VERIFY_EMAIL, to=to)


async def request_change(context: Context, *, caller: Subject, sent: EmailChange) -> None:
    """Send a code to the new address and a warning to the old one (ASVS 5.0, 6.3.7 and 7.5.1).

    The address changes when the code is redeemed. The response does not disclose whether another account has it.
    """
    outbox.require_enabled(context)
    password = sent.password.get_secret_value()
    owner = await confirm_password(context, user_id=caller.id, password=password, refused=Event.EMAIL_CHANGE_REFUSED)
    if sent.new_email == owner.email:
        raise SameEmailError
    await admit(context, *mail_limits(context))
    async with context.database.writing() as connection:
        if not await lock_open(connection, user_id=owner.id, password_hash=owner.password_hash):
            raise WrongPasswordError
        await _send_both(context, connection, owner, sent.new_email)
        await record_own(context, connection, Event.EMAIL_CHANGE_REQUESTED, user_id=owner.id)


async def _send_both(context: Context, connection: AsyncConnection, owner: PasswordOwner, new: str) -> None:
    other = await repository.find_holder(connection, email=new, verified=True, other_than=owner.id)
    to = Addressee(owner.id, owner.username, new, other.username if other else None)
    await mailing.send(context, connection, purpose=Purpose.CHANGE_EMAIL, to=to)
    if owner.notice_email is not None:
        values = {"username": owner.username, "new_email": new}
        await outbox.put(context, connection, Mail(Template.EMAIL_CHANGE_REQUESTED, owner.notice_email, values))


async def _verify(context: Context, connection: AsyncConnection, code: RedeemedCode) -> None:
    if await repository.verify(connection, user_id=code.user_id, email=code.email):
        await record_own(context, connection, Event.EMAIL_VERIFIED, user_id=code.user_id)
    # The code of an earlier e-mail is accepted if the address is verified already.
    elif not await repository.is_verified(connection, user_id=code.user_id, email=code.email):
        raise AddressHeldError


async def _change(
    context: Context, connection: AsyncConnection, code: RedeemedCode, *, username: str, old: str | None
) -> None:
    if not await repository.change(connection, user_id=code.user_id, email=code.email):
        raise AddressHeldError
    await codes.forget_all(connection, user_id=code.user_id)
    if old is not None:
        values = {"username": username, "new_email": code.email}
        await outbox.put(context, connection, Mail(Template.EMAIL_CHANGED, old, values))
    await record_own(context, connection, Event.EMAIL_CHANGED, user_id=code.user_id)
