"""Verifying an e-mail address, and changing it."""

from typing import Annotated, NamedTuple

from fastapi import Depends
from kpi_shared.caller import Subject
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.attempts.limits import mail_limits
from kpi_auth.attempts.service import admit
from kpi_auth.audit.models import Event
from kpi_auth.audit.service import record
from kpi_auth.codes import service as codes
from kpi_auth.codes.errors import InvalidCodeError
from kpi_auth.codes.mailing import Addressee, CodeMails, CodeMailsOfApp
from kpi_auth.codes.models import Purpose
from kpi_auth.codes.service import Redeemed
from kpi_auth.emails import repository
from kpi_auth.emails.errors import AddressHeldError, SameEmailError
from kpi_auth.emails.schemas import EmailChange
from kpi_auth.mails.outbox import Mail, Template
from kpi_auth.passwords.errors import WrongPasswordError
from kpi_auth.passwords.proof import PasswordProof, Proof
from kpi_auth.passwords.repository import Holder
from kpi_auth.users import repository as users

_PURPOSES = (Purpose.VERIFY_EMAIL, Purpose.CHANGE_EMAIL)


class Emails(NamedTuple):
    """What changing an address takes."""

    proof: PasswordProof
    mails: CodeMails

    async def verify(self, code: str) -> None:
        """Do what the code was sent for; InvalidCodeError, or AddressHeldError."""
        async with self.proof.database.reading() as connection:
            found = await codes.check(connection, code=code, purposes=_PURPOSES)
        async with self.proof.database.writing() as connection:
            # The user's row comes first in every transaction that also takes codes: two never wait for each other.
            if not await users.hold_open(connection, user_id=found.user_id):
                raise InvalidCodeError
            redeemed = await codes.redeem(connection, code=code, purposes=_PURPOSES)
            if redeemed.purpose is Purpose.CHANGE_EMAIL:
                await self._move(connection, redeemed)
            else:
                await self._prove(connection, redeemed)

    async def send_again(self, login: str) -> None:
        """Mail another code, if there is an address to verify; the work does not tell."""
        self.mails.require_open()
        await self._admit()
        async with self.proof.database.writing() as connection:
            found = await repository.unproven(connection, login=login)
            await record(
                connection,
                Event.EMAIL_VERIFICATION_SENT,
                origin=self.proof.origin,
                subject_id=found.id if found else None,
                details={"sent": found is not None},
            )
            to = Addressee(*found) if found else None
            await self.mails.send_or_seem_to(connection, Purpose.VERIFY_EMAIL, to)

    async def ask_for_change(self, caller: Subject, sent: EmailChange) -> None:
        """Mail a code to the new address and a warning to the old one (ASVS 5.0, 6.3.7 and 7.5.1).

        Nothing changes before the code comes back. The answer does not tell whether another account has the address.
        """
        self.mails.require_open()
        password = sent.password.get_secret_value()
        holder = await self.proof.of(caller.id, password, refused=Event.EMAIL_CHANGE_REFUSED)
        if sent.new_email == holder.email:
            raise SameEmailError
        await self._admit()
        async with self.proof.database.writing() as connection:
            if not await users.hold_open(connection, user_id=holder.id, password_hash=holder.password_hash):
                raise WrongPasswordError
            await self._send_both(connection, holder, sent.new_email)
            await self._record(connection, Event.EMAIL_CHANGE_REQUESTED, holder.id)

    async def _send_both(self, connection: AsyncConnection, holder: Holder, new: str) -> None:
        other = await repository.other_holder_of(connection, email=new, user_id=holder.id)
        to = Addressee(holder.id, holder.username, new, other)
        await self.mails.send(connection, Purpose.CHANGE_EMAIL, to)
        await self._tell(connection, Template.EMAIL_CHANGE_REQUESTED, holder.username, old=holder.told_at, new=new)

    async def _prove(self, connection: AsyncConnection, code: Redeemed) -> None:
        if await repository.prove(connection, user_id=code.user_id, email=code.email):
            await self._record(connection, Event.EMAIL_VERIFIED, code.user_id)
        # An earlier mail's link, or a second click, finds done what it is for.
        elif not await repository.is_proven(connection, user_id=code.user_id, email=code.email):
            raise AddressHeldError

    async def _move(self, connection: AsyncConnection, code: Redeemed) -> None:
        before = await repository.get(connection, user_id=code.user_id)
        if not await repository.move(connection, user_id=code.user_id, email=code.email):
            raise AddressHeldError
        await codes.forget_all(connection, user_id=code.user_id)
        await self._tell(connection, Template.EMAIL_CHANGED, before.username, old=before.told_at, new=code.email)
        await self._record(connection, Event.EMAIL_CHANGED, code.user_id)

    async def _tell(
        self, connection: AsyncConnection, template: Template, username: str, *, old: str | None, new: str
    ) -> None:
        if old is not None:
            await self.mails.outbox.put(connection, Mail(template, old, {"username": username, "new_email": new}))

    async def _record(self, connection: AsyncConnection, event: Event, user_id: int) -> None:
        await record(connection, event, origin=self.proof.origin, actor_id=user_id, subject_id=user_id)

    async def _admit(self) -> None:
        limits = mail_limits(self.proof.settings, self.proof.origin)
        await admit(self.proof.database, *limits, origin=self.proof.origin)


async def _emails(proof: Proof, mails: CodeMailsOfApp) -> Emails:
    return Emails(proof, mails)


EmailsOfApp = Annotated[Emails, Depends(_emails)]
