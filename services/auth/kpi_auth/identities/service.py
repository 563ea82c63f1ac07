"""Finds or creates the account of an external identity."""

from kpi_shared.database import AnyRow
from kpi_shared.errors import UnavailableError
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.accounts import email_repository, write_repository
from kpi_auth.accounts.errors import RegistrationClosedError
from kpi_auth.accounts.models import NewAccount
from kpi_auth.audit.models import Event, RefusalReason
from kpi_auth.audit.service import record_own
from kpi_auth.context import Context
from kpi_auth.identities import repository
from kpi_auth.identities.errors import InvalidExternalTokenError
from kpi_auth.identities.usernames import candidates
from kpi_auth.identities.verification import ExternalIdentity
from kpi_auth.mails import outbox
from kpi_auth.mails.outbox import Mail, Template


async def find_or_create_account(
    context: Context, connection: AsyncConnection, *, identity: ExternalIdentity
) -> AnyRow:
    """The locked row of the identity's user, which is created or linked at the first sign-in.

    InvalidExternalTokenError if the account is closed, RegistrationClosedError if there is none and registration is
    closed.
    """
    key = {"issuer": identity.issuer, "subject": identity.subject}
    user_id = await repository.use(connection, **key)
    if user_id is None:
        # Of several simultaneous first sign-ins one continues; the others then find the link that it made.
        await repository.lock(connection, **key)
        user_id = await repository.use(connection, **key)
    if user_id is not None:
        return await _lock_open(connection, identity, user_id)
    for username in candidates(identity.preferred_username or identity.email):
        # In each round: an account that has taken the address in the meantime may belong to the same person.
        account = await _link_by_email(context, connection, identity)
        account = account or await _create(context, connection, identity, username)
        if account is not None:
            return account
    raise UnavailableError("No free username was found; try again")


async def _link_by_email(context: Context, connection: AsyncConnection, identity: ExternalIdentity) -> AnyRow | None:
    """The account with the same e-mail address, if the address is verified both at the provider and here.

    One of the two is not enough: a person who registers with another person's address, here or there, would get access
    to that person's account.
    """
    email = identity.email
    if email is None or not identity.email_verified:
        return None
    holder = await email_repository.find_holder(connection, email=email, verified=True)
    if holder is None:
        return None
    account = await _lock_open(connection, identity, holder.id)
    # The address may have changed before the row was locked.
    if account.email != email or not account.email_verified:
        return None
    await _link(context, connection, identity, holder.id)
    values = {"username": account.username, "provider": identity.provider}
    await outbox.put(context, connection, Mail(Template.IDENTITY_LINKED, to=email, values=values))
    return account


async def _create(
    context: Context, connection: AsyncConnection, identity: ExternalIdentity, username: str
) -> AnyRow | None:
    """Create an account; None if the name or the address is taken."""
    if context.settings.registration == "closed":
        raise RegistrationClosedError
    email, verified = await _email_to_keep(context, connection, identity)
    row = await write_repository.add(
        connection, NewAccount(username, email, email_signs_in=verified, is_verified=verified)
    )
    if row is None:
        return None
    await _record(context, connection, Event.REGISTERED, identity, row.id)
    await _link(context, connection, identity, row.id)
    return row


async def _email_to_keep(
    context: Context, connection: AsyncConnection, identity: ExternalIdentity
) -> tuple[str | None, bool]:
    """The address of a new account, and whether it is verified and identifies that account only."""
    if identity.email is None:
        return None, False
    is_held = await email_repository.find_holder(connection, email=identity.email) is not None
    if is_held and context.settings.discloses_email:
        return None, False
    return identity.email, identity.email_verified and not is_held


async def _link(context: Context, connection: AsyncConnection, identity: ExternalIdentity, user_id: int) -> None:
    await repository.link(connection, user_id=user_id, issuer=identity.issuer, subject=identity.subject)
    await _record(context, connection, Event.IDENTITY_LINKED, identity, user_id)


async def _record(
    context: Context, connection: AsyncConnection, event: Event, identity: ExternalIdentity, user_id: int
) -> None:
    await record_own(context, connection, event, user_id=user_id, details={"provider": identity.provider})


async def _lock_open(connection: AsyncConnection, identity: ExternalIdentity, user_id: int) -> AnyRow:
    account = await write_repository.lock_open(connection, user_id=user_id)
    if account is None:
        raise InvalidExternalTokenError(identity.provider, reason=RefusalReason.CLOSED)
    return account
