"""Whose account an outside identity opens: the one that it is linked to, or a new one."""

from typing import NamedTuple

from kpi_shared.caller import Role
from kpi_shared.errors import UnavailableError
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.audit.models import Event
from kpi_auth.audit.origin import Origin
from kpi_auth.audit.service import record
from kpi_auth.identities import repository
from kpi_auth.identities.errors import InvalidForeignTokenError
from kpi_auth.identities.usernames import candidates
from kpi_auth.identities.verifier import ForeignIdentity
from kpi_auth.mails.outbox import Mail, Outbox, Template
from kpi_auth.registrations.errors import RegistrationClosedError
from kpi_auth.settings import AuthSettings
from kpi_auth.users import repository as users
from kpi_auth.users.models import Account


class Admittance(NamedTuple):
    """What lets people in, and tells of it."""

    settings: AuthSettings
    outbox: Outbox
    origin: Origin

    async def account_of(self, connection: AsyncConnection, identity: ForeignIdentity) -> Account:
        """The account of an identity, its row held; made or linked if this is the first time.

        InvalidForeignTokenError for a closed account, RegistrationClosedError where there is none and may be none.
        """
        key = {"issuer": identity.issuer, "subject": identity.subject}
        user_id = await repository.use(connection, **key)
        if user_id is None:
            # Of several who come first at once, one goes on; the others find what that one made.
            await repository.hold(connection, **key)
            user_id = await repository.use(connection, **key)
        if user_id is not None:
            return await _open_account(connection, identity, user_id)
        for username in candidates(identity.preferred_username or identity.email):
            # In each round, since whoever took the address meanwhile may be the same person.
            account = await self._linked(connection, identity) or await self._created(connection, identity, username)
            if account is not None:
                return account
        raise UnavailableError("No free username was found; trying again may help")

    async def _linked(self, connection: AsyncConnection, identity: ForeignIdentity) -> Account | None:
        """The account of the same address, where its owner has shown to read it both there and here.

        One of the two is not enough: whoever registered here first with another's address, or there, would share the
        other's account from then on.
        """
        email = identity.email
        if email is None or not identity.email_verified:
            return None
        user_id = await repository.owner_of_verified(connection, email=email)
        if user_id is None:
            return None
        account = await _open_account(connection, identity, user_id)
        # The row is held now; before it was, the address may have been changed.
        if not await repository.is_still_verified(connection, user_id=user_id, email=email):
            return None
        await self._link(connection, identity, user_id)
        values = {"username": account.username, "provider": identity.provider}
        await self.outbox.put(connection, Mail(Template.IDENTITY_LINKED, to=email, values=values))
        return account

    async def _created(self, connection: AsyncConnection, identity: ForeignIdentity, username: str) -> Account | None:
        """A new account; None where the name, or the address, was taken."""
        if self.settings.registration == "closed":
            raise RegistrationClosedError
        email, verified = await self._email_to_keep(connection, identity)
        row = await repository.add_user(connection, username=username, email=email, verified=verified)
        if row is None:
            return None
        await self._record(connection, Event.REGISTERED, identity, row.id)
        await self._link(connection, identity, row.id)
        return Account(row.id, row.username, Role(row.role), None, may_sign_in=True)

    async def _email_to_keep(self, connection: AsyncConnection, identity: ForeignIdentity) -> tuple[str | None, bool]:
        """The address that a new account gets, and whether it is verified and names that account alone."""
        if identity.email is None:
            return None, False
        is_held = await repository.is_held(connection, email=identity.email)
        if is_held and self.settings.tells_email:
            return None, False
        return identity.email, identity.email_verified and not is_held

    async def _link(self, connection: AsyncConnection, identity: ForeignIdentity, user_id: int) -> None:
        await repository.link(connection, user_id=user_id, issuer=identity.issuer, subject=identity.subject)
        await self._record(connection, Event.IDENTITY_LINKED, identity, user_id)

    async def _record(self, connection: AsyncConnection, event: Event, identity: ForeignIdentity, user_id: int) -> None:
        details = {"provider": identity.provider}
        await record(connection, event, origin=self.origin, actor_id=user_id, subject_id=user_id, details=details)


async def _open_account(connection: AsyncConnection, identity: ForeignIdentity, user_id: int) -> Account:
    account = await users.hold_open(connection, user_id=user_id)
    if account is None:
        raise InvalidForeignTokenError(identity.provider)
    return account
