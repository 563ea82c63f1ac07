"""Changing a password, and getting a new one where it was forgotten."""

from typing import Annotated, NamedTuple

from fastapi import Depends
from kpi_shared.caller import Subject
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.attempts import repository as attempts
from kpi_auth.attempts.limits import mail_limits, sign_in_keys
from kpi_auth.attempts.service import admit
from kpi_auth.audit.models import Event
from kpi_auth.audit.service import record
from kpi_auth.codes import service as codes
from kpi_auth.codes.errors import InvalidCodeError
from kpi_auth.codes.mailing import Addressee, CodeMails, CodeMailsOfApp
from kpi_auth.codes.models import Purpose
from kpi_auth.emails import repository as emails
from kpi_auth.identities import repository as identities
from kpi_auth.mails.outbox import Mail, Template
from kpi_auth.passwords import repository
from kpi_auth.passwords.errors import NewPasswordRefusedError, PasswordChangedMeanwhileError
from kpi_auth.passwords.policy import refusal
from kpi_auth.passwords.proof import PasswordProof, Proof
from kpi_auth.passwords.repository import Holder
from kpi_auth.passwords.schemas import PasswordChange, PasswordReset
from kpi_auth.sessions.models import EndReason
from kpi_auth.sessions.repository import end_all
from kpi_auth.users import repository as users

_RESET = (Purpose.RESET_PASSWORD,)


class Passwords(NamedTuple):
    """What changing takes. Hashing comes before the transaction, which then makes sure that nothing changed since."""

    proof: PasswordProof
    mails: CodeMails

    async def change(self, caller: Subject, sent: PasswordChange) -> None:
        """Put a new password in place of the current one, and end the other sessions (ASVS 5.0, 6.2.2 and 7.4.3)."""
        current = sent.current_password.get_secret_value()
        holder = await self.proof.of(caller.id, current, refused=Event.PASSWORD_CHANGE_REFUSED)
        new = sent.new_password.get_secret_value()
        if new == current:
            raise NewPasswordRefusedError("must not be the current one", kind="same_password")
        new_hash = await self._hashed(new, holder)
        async with self.proof.database.writing() as connection:
            if not await users.hold_open(connection, user_id=holder.id, password_hash=holder.password_hash):
                raise PasswordChangedMeanwhileError
            await self._put(connection, holder, new_hash, spared=int(caller.session_id))
            await self._record(connection, Event.PASSWORD_CHANGED, holder.id)

    async def send_code(self, login: str) -> None:
        """Mail a code for a new password, if there is an open account with an address; the work does not tell."""
        self.mails.require_open()
        limits = mail_limits(self.proof.settings, self.proof.origin)
        await admit(self.proof.database, *limits, origin=self.proof.origin)
        async with self.proof.database.writing() as connection:
            found = await repository.recipient(connection, login=login)
            # Nobody is known to have asked: whoever reads the mail may not be who did.
            await record(
                connection,
                Event.PASSWORD_RESET_REQUESTED,
                origin=self.proof.origin,
                subject_id=found.id if found else None,
            )
            to = Addressee(*found) if found else None
            await self.mails.send_or_seem_to(connection, Purpose.RESET_PASSWORD, to)

    async def reset(self, sent: PasswordReset) -> None:
        """Set a new password by a code, and end all sessions; nobody is signed in by it."""
        async with self.proof.database.reading() as connection:
            found = await codes.check(connection, code=sent.code, purposes=_RESET)
            holder = await repository.holder_of(connection, user_id=found.user_id)
        if holder is None:
            raise InvalidCodeError
        new_hash = await self._hashed(sent.new_password.get_secret_value(), holder)
        async with self.proof.database.writing() as connection:
            # The user's row comes first in every transaction that also takes codes: two never wait for each other.
            if not await users.hold_open(connection, user_id=holder.id):
                raise InvalidCodeError
            code = await codes.redeem(connection, code=sent.code, purposes=_RESET)
            # One that was made while the address changed was mailed to the address of before.
            if not await emails.is_current(connection, user_id=holder.id, email=code.email):
                raise InvalidCodeError
            await self._put(connection, holder, new_hash)
            await self._record(connection, Event.PASSWORD_RESET, holder.id)
            # Whoever shut the owner out by guessing has guessed at a password that is no more.
            names = [holder.username.lower(), *([holder.email] if holder.email else [])]
            await attempts.clear(connection, keys=sign_in_keys(self.proof.settings, logins=names))
            # Whoever has the code reads that address, unless it is the account's no more.
            if await emails.prove(connection, user_id=holder.id, email=code.email):
                await self._record(connection, Event.EMAIL_VERIFIED, holder.id)
                # Before that nobody had shown to read it: whoever made the account with a token of another place may
                # have given a stranger's address, and must not get in any more.
                if await identities.unlink_all(connection, user_id=holder.id):
                    await self._record(connection, Event.IDENTITY_UNLINKED, holder.id)

    async def _hashed(self, password: str, holder: Holder) -> str:
        reason = refusal(password, username=holder.username, email=holder.email or "")
        if reason is not None:
            raise NewPasswordRefusedError(reason, kind="guessable_password")
        return await self.proof.hasher.hash(password)

    async def _put(
        self, connection: AsyncConnection, holder: Holder, new_hash: str, *, spared: int | None = None
    ) -> None:
        """What a new password comes with; the caller holds the user's row."""
        await repository.replace(connection, user_id=holder.id, new=new_hash)
        await end_all(connection, user_id=holder.id, reason=EndReason.PASSWORD, spared=spared)
        await codes.forget_all(connection, user_id=holder.id)
        if holder.told_at is not None:
            mail = Mail(Template.PASSWORD_CHANGED, holder.told_at, {"username": holder.username})
            await self.mails.outbox.put(connection, mail)

    async def _record(self, connection: AsyncConnection, event: Event, user_id: int) -> None:
        await record(connection, event, origin=self.proof.origin, actor_id=user_id, subject_id=user_id)


async def _passwords(proof: Proof, mails: CodeMailsOfApp) -> Passwords:
    return Passwords(proof, mails)


PasswordsOfApp = Annotated[Passwords, Depends(_passwords)]
