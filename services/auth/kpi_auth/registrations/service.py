"""Registering users, and what the response discloses.

If the settings do not disclose taken names or addresses, both outcomes do the same work.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from kpi_shared.caller import Subject
from kpi_shared.database import AnyRow
from kpi_shared.idempotency import NOT_PROCESSED
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.accounts import write_repository as accounts
from kpi_auth.accounts.email_repository import find_holder
from kpi_auth.accounts.errors import EmailTakenError, RegistrationClosedError, UsernameTakenError
from kpi_auth.accounts.read_repository import is_username_taken
from kpi_auth.attempts.limits import registration_limits
from kpi_auth.attempts.service import admit, forgive
from kpi_auth.audit.models import Event
from kpi_auth.audit.service import record, record_own
from kpi_auth.codes import mailing
from kpi_auth.codes.mailing import Addressee
from kpi_auth.codes.models import Purpose
from kpi_auth.context import Context
from kpi_auth.hashing.askers import Asker
from kpi_auth.mails import outbox
from kpi_auth.mails.outbox import Mail, Template
from kpi_auth.registrations.schemas import Registration
from kpi_auth.sessions.session_check import check_again
from kpi_auth.users.errors import FieldNotYoursError


class AdmittedUser(NamedTuple):
    """A registration that is checked, counted and hashed; ``admin`` is the caller if that is an admin."""

    user: Registration
    password_hash: str
    admin: Subject | None


@asynccontextmanager
async def admit_user(context: Context, *, user: Registration, caller: Subject | None) -> AsyncIterator[AdmittedUser]:
    """What comes before the transaction, which is the block: the registration is not counted if it adds nothing."""
    admin = caller if caller is not None and caller.is_admin else None
    _check_rights(context, user, admin)
    # A registration for which there is no place in the hashing queue is refused first, and is not counted.
    with await context.hasher.take_place(_asker(context, admin)) as place:
        admission = await admit(context, *registration_limits(context)) if admin is None else None
        # Always hashed, so that the time does not disclose the outcome; and before the transaction.
        password_hash = await context.hasher.hash(user.password.get_secret_value(), place=place)
    try:
        yield AdmittedUser(user, password_hash, admin)
    except (UsernameTakenError, EmailTakenError, *NOT_PROCESSED):
        # No account was added and no mail was written.
        if admission is not None:
            await forgive(context, admission)
        raise


async def add(context: Context, connection: AsyncConnection, *, new: AdmittedUser) -> AnyRow | None:
    """Add the user; raises UsernameTakenError or EmailTakenError. None if the outcome must not be disclosed."""
    row = await _add(context, connection, new)
    return row if new.admin is not None or context.settings.registration_tells_username else None


def _asker(context: Context, admin: Subject | None) -> Asker:
    return Asker.of(context.origin) if admin is None else Asker.of_user(admin.id)


def _check_rights(context: Context, user: Registration, admin: Subject | None) -> None:
    if admin is not None:
        return
    if context.settings.registration == "closed":
        raise RegistrationClosedError
    if user.admin_fields:
        raise FieldNotYoursError(user.admin_fields)


async def _add(context: Context, connection: AsyncConnection, new: AdmittedUser) -> AnyRow | None:
    user, password_hash, admin = new
    account = user.to_account(password_hash=password_hash, email_signs_in=context.settings.discloses_email)
    if admin is not None:
        await accounts.guard_admins(connection)
        await check_again(connection, admin)
    discloses = context.settings.discloses_email or admin is not None
    holder = await find_holder(connection, email=user.email, verified=not discloses)
    # If taken addresses are disclosed, an address is not added a second time, even if it is not verified.
    row = None if holder is not None and discloses else await accounts.add(connection, account)
    if row is None:
        await _handle_taken(context, connection, user, admin)
        return None
    to = Addressee(row.id, user.username, user.email, holder.username if holder else None)
    await _welcome(context, connection, to, user)
    await _record(context, connection, row.id, user, admin)
    return row


async def _handle_taken(
    context: Context, connection: AsyncConnection, user: Registration, admin: Subject | None
) -> None:
    """Report what is taken: to an admin in the response, to others as the settings require."""
    if not await is_username_taken(connection, username=user.username):
        raise EmailTakenError
    if admin is not None or context.settings.registration_tells_username:
        raise UsernameTakenError
    mail = Mail(Template.USERNAME_IN_USE, user.email, {"username": user.username})
    await outbox.put(context, connection, mail)


async def _welcome(context: Context, connection: AsyncConnection, to: Addressee, user: Registration) -> None:
    if outbox.is_enabled(context) and user.is_active:
        await mailing.send(context, connection, purpose=Purpose.VERIFY_EMAIL, to=to)


async def _record(
    context: Context, connection: AsyncConnection, user_id: int, user: Registration, admin: Subject | None
) -> None:
    if admin is None:
        await record_own(context, connection, Event.REGISTERED, user_id=user_id)
        return
    details = {"role": user.role.value, "is_active": user.is_active}
    await record(context, connection, Event.USER_CREATED, actor_id=admin.id, subject_id=user_id, details=details)
