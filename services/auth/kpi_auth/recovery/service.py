"""Resetting a forgotten password."""

from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.accounts import email_repository, read_repository, write_repository
from kpi_auth.accounts.models import PasswordOwner
from kpi_auth.attempts import repository as attempts
from kpi_auth.attempts.limits import familiar_keys, mail_limits, sign_in_keys
from kpi_auth.attempts.service import admit
from kpi_auth.audit.models import Event
from kpi_auth.audit.service import record, record_own
from kpi_auth.codes import mailing
from kpi_auth.codes import service as codes
from kpi_auth.codes.errors import InvalidCodeError
from kpi_auth.codes.mailing import Addressee
from kpi_auth.codes.models import Purpose
from kpi_auth.context import Context
from kpi_auth.identities import repository as identities
from kpi_auth.mails import outbox
from kpi_auth.passwords import service as passwords
from kpi_auth.recovery.schemas import PasswordReset

_RESET = (Purpose.RESET_PASSWORD,)


async def send_code(context: Context, *, login: str) -> None:
    """Send a code to reset the password if an open account has an address; the same work is done in either case."""
    outbox.require_enabled(context)
    await admit(context, *mail_limits(context))
    async with context.database.writing() as connection:
        found = await read_repository.find_recipient(connection, login=login)
        # No actor is recorded: any client can make this request for any account.
        subject_id = found.id if found else None
        await record(context, connection, Event.PASSWORD_RESET_REQUESTED, subject_id=subject_id)
        to = Addressee(*found) if found else None
        await mailing.send_or_simulate(context, connection, purpose=Purpose.RESET_PASSWORD, to=to)


async def reset(context: Context, *, sent: PasswordReset) -> None:
    """Set a new password with a code, and end all sessions; no session is opened."""
    async with context.database.reading() as connection:
        found = await codes.check(connection, code=sent.code, purposes=_RESET)
        owner = await read_repository.get_password_owner(connection, user_id=found.user_id)
    if owner is None:
        raise InvalidCodeError
    password = sent.new_password.get_secret_value()
    new_hash = await passwords.hash_new(context, password=password, owner=owner)
    async with context.database.writing() as connection:
        email = await _redeem(connection, sent.code, user_id=owner.id)
        await passwords.replace(context, connection, owner=owner, new_hash=new_hash)
        await record_own(context, connection, Event.PASSWORD_RESET, user_id=owner.id)
        await _lift_limits(context, connection, owner)
        await _verify_email(context, connection, user_id=owner.id, email=email)


async def _redeem(connection: AsyncConnection, code: str, *, user_id: int) -> str:
    """Redeem the code and return the address that it was sent to; raises InvalidCodeError.

    Every transaction locks the user's row before codes, so that no deadlock is possible.
    """
    locked = await write_repository.lock_open(connection, user_id=user_id)
    if locked is None:
        raise InvalidCodeError
    redeemed = await codes.redeem(connection, code=code, purposes=_RESET)
    # A code that was issued while the address changed was sent to the previous address.
    if redeemed.email != locked.email:
        raise InvalidCodeError
    return redeemed.email


async def _lift_limits(context: Context, connection: AsyncConnection, owner: PasswordOwner) -> None:
    """Failed attempts were made on the old password: the owner must be able to sign in with the new one.

    The code proves that the owner is at this address, so further attempts at other addresses do not matter here.
    """
    names = [owner.username.lower(), *([owner.email] if owner.email else [])]
    await attempts.clear(connection, keys=sign_in_keys(context, logins=names))
    familiar = familiar_keys(context, logins=names)
    await attempts.remember(connection, familiar=familiar, kept=context.lifetimes.idle)


async def _verify_email(context: Context, connection: AsyncConnection, *, user_id: int, email: str) -> None:
    """The code proves that the client reads the address: verify it, if it is still the account's."""
    if not await email_repository.verify(connection, user_id=user_id, email=email):
        return
    await record_own(context, connection, Event.EMAIL_VERIFIED, user_id=user_id)
    # The address was not verified before: an account that was created with an external token may have been given
    # another person's address, and its creator must lose access.
    if await identities.unlink_all(connection, user_id=user_id):
        await record_own(context, connection, Event.IDENTITY_UNLINKED, user_id=user_id)
