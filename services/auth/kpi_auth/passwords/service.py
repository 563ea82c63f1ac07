"""Changing a password. Hashing precedes the transaction, which then checks that nothing has changed since."""

from kpi_shared.caller import Subject
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.accounts import write_repository as accounts
from kpi_auth.accounts.models import PasswordOwner
from kpi_auth.audit.models import Event
from kpi_auth.audit.service import record_own
from kpi_auth.codes import service as codes
from kpi_auth.context import Context
from kpi_auth.hashing.askers import Asker
from kpi_auth.mails import outbox
from kpi_auth.mails.outbox import Mail, Template
from kpi_auth.passwords.confirmation import confirm_password
from kpi_auth.passwords.errors import NewPasswordRefusedError, PasswordChangedMeanwhileError
from kpi_auth.passwords.policy import find_weakness
from kpi_auth.passwords.schemas import PasswordChange
from kpi_auth.sessions import repository as sessions
from kpi_auth.sessions.models import EndReason


async def change(context: Context, *, caller: Subject, sent: PasswordChange) -> None:
    """Replace the current password and end the other sessions (ASVS 5.0, 6.2.2 and 7.4.3)."""
    current, new = sent.current_password.get_secret_value(), sent.new_password.get_secret_value()
    owner = await confirm_password(context, user_id=caller.id, password=current, refused=Event.PASSWORD_CHANGE_REFUSED)
    if new == current:
        raise NewPasswordRefusedError("must differ from the current one", kind="same_password")
    new_hash = await hash_new(context, password=new, owner=owner)
    async with context.database.writing() as connection:
        if not await accounts.lock_open(connection, user_id=owner.id, password_hash=owner.password_hash):
            raise PasswordChangedMeanwhileError
        await replace(context, connection, owner=owner, new_hash=new_hash, spared=int(caller.session_id))
        await record_own(context, connection, Event.PASSWORD_CHANGED, user_id=owner.id)


async def hash_new(context: Context, *, password: str, owner: PasswordOwner) -> str:
    """The hash of a new password; NewPasswordRefusedError if it is too easy to guess."""
    weakness = find_weakness(password, username=owner.username, email=owner.email or "")
    if weakness is not None:
        raise NewPasswordRefusedError(weakness, kind="guessable_password")
    return await context.hasher.hash(password, by=Asker.of_user(owner.id))


async def replace(
    context: Context, connection: AsyncConnection, *, owner: PasswordOwner, new_hash: str, spared: int | None = None
) -> list[int]:
    """Store a new password, end all sessions except ``spared``, delete all codes, and notify the owner.

    The caller has locked the user's row. Returns the ids of the sessions that ended.
    """
    await accounts.set_password(connection, user_id=owner.id, new=new_hash)
    ended = await sessions.end_all(connection, user_id=owner.id, reason=EndReason.PASSWORD, spared=spared)
    await codes.forget_all(connection, user_id=owner.id)
    if owner.notice_email is not None:
        mail = Mail(Template.PASSWORD_CHANGED, owner.notice_email, {"username": owner.username})
        await outbox.put(context, connection, mail)
    return ended
