"""Changing, deleting and restoring users. Each is one transaction, together with its audit record.

The order of locks is the same everywhere: the guard of the admins if one may be removed, then the user's row, then its
sessions and codes. Sign-in locks the user's row and then a session, so no deadlock is possible.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kpi_shared.caller import Role, Subject
from kpi_shared.database import AnyRow
from kpi_shared.http.conditional import Condition
from kpi_shared.security import require_person
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.accounts import read_repository
from kpi_auth.accounts import write_repository as repository
from kpi_auth.accounts.errors import UserNotFoundError
from kpi_auth.api_keys import repository as api_keys
from kpi_auth.api_keys.fields import EndReason as KeyEndReason
from kpi_auth.audit.models import Event
from kpi_auth.audit.service import record
from kpi_auth.codes import mailing
from kpi_auth.codes import service as codes
from kpi_auth.codes.mailing import Addressee
from kpi_auth.codes.models import Purpose
from kpi_auth.context import Context
from kpi_auth.mails import outbox
from kpi_auth.mails.outbox import Mail, Template
from kpi_auth.passwords.confirmation import confirm_password
from kpi_auth.passwords.errors import WrongPasswordError
from kpi_auth.sessions import repository as sessions
from kpi_auth.sessions.models import EndReason
from kpi_auth.sessions.session_check import check_again
from kpi_auth.users.errors import FieldNotYoursError, LastAdminError, NotDeletedError, NotYourAccountError
from kpi_auth.users.etags import check_match
from kpi_auth.users.schemas import KEY_FIELDS, OWN_FIELDS

# Changes of these fields have audit events of their own; the names of the others are in the event user.changed.
_RECORDED_APART = {"role", "is_active"}


@dataclass(frozen=True, slots=True)
class UserRequest:
    """A request to change a user: the caller, the user, and the condition on the user's version."""

    caller: Subject
    user_id: int
    condition: Condition | None

    @property
    def is_own(self) -> bool:
        return self.caller.id == self.user_id

    def may_set(self, name: str) -> bool:
        """Admins may set the other fields, except their own address, which must be confirmed."""
        return self.caller.is_admin and not (name == "email" and self.is_own)


async def change(
    context: Context, connection: AsyncConnection, *, request: UserRequest, wanted: Mapping[str, Any]
) -> AnyRow:
    """Set the wanted values and return the user. Values that are equal to the current ones are no change."""
    if request.caller.is_admin and {"role", "is_active"} & wanted.keys():
        await repository.guard_admins(connection)
    await check_again(connection, request.caller)
    before = _check_allowed(request, await repository.lock(connection, user_id=request.user_id))
    _check_fields(request, wanted)
    check_match(request.condition, version=before.version, user_id=request.user_id)
    changes = {name: value for name, value in wanted.items() if getattr(before, name) != value}
    if not changes:
        return before
    if request.is_own and not KEY_FIELDS.issuperset(changes):
        require_person(request.caller)
    if changes.get("role") == Role.USER or changes.get("is_active") is False:
        await _require_other_admin(connection, before)
    values = changes | (_new_email(context, changes["email"]) if "email" in changes else {})
    after = await repository.change(connection, user_id=request.user_id, values=values)
    await _record_changes(context, connection, request, before, changes)
    if "email" in changes:
        await _notify_of_email(context, connection, request, before, after)
    return after


async def confirm_deletion(context: Context, *, request: UserRequest, password: str | None) -> str | None:
    """The hash that the caller's password matches, if a password is required; verified before the transaction."""
    if not request.is_own:
        return None
    require_person(request.caller)
    # The last admin gets this error even without a password.
    if request.caller.is_admin:
        async with context.database.reading() as connection:
            if not await read_repository.is_other_admin(connection, than=request.user_id):
                raise LastAdminError
    if password is None:
        raise WrongPasswordError
    owner = await confirm_password(context, user_id=request.user_id, password=password, refused=Event.DELETION_REFUSED)
    return owner.password_hash


async def delete(
    context: Context, connection: AsyncConnection, *, request: UserRequest, confirmed_hash: str | None
) -> None:
    """Delete the account; only an admin can restore it. Its username and address stay reserved.

    ``confirmed_hash`` is the hash that the caller's password matches. It must still be the account's: after a change of
    the password, the old one must not delete the account.
    """
    await repository.guard_admins(connection)
    await check_again(connection, request.caller)
    row = _check_allowed(request, await repository.lock(connection, user_id=request.user_id))
    check_match(request.condition, version=row.version, user_id=request.user_id)
    await _require_other_admin(connection, row)
    if request.is_own and (confirmed_hash is None or row.password_hash != confirmed_hash):
        raise WrongPasswordError
    await repository.close(connection, user_id=request.user_id)
    await api_keys.delete_all(connection, user_id=request.user_id, reason=KeyEndReason.CLOSED)
    await _record(context, connection, request, Event.DELETED)
    await _end_access(connection, request.user_id)


async def restore(context: Context, connection: AsyncConnection, *, request: UserRequest) -> AnyRow:
    """Restore a deleted account with all its data, and activate it."""
    await check_again(connection, request.caller)
    row = await repository.lock(connection, user_id=request.user_id)
    if row is None:
        raise UserNotFoundError
    check_match(request.condition, version=row.version, user_id=request.user_id)
    if row.deleted_at is None:
        raise NotDeletedError
    restored = await repository.reopen(connection, user_id=request.user_id)
    await _record(context, connection, request, Event.RESTORED)
    return restored


def _check_allowed(request: UserRequest, row: AnyRow | None) -> AnyRow:
    """The row, if the caller may change this user; a user that the caller may not see does not exist."""
    if row is None or row.deleted_at is not None:
        raise UserNotFoundError
    if request.is_own or request.caller.is_admin:
        return row
    raise NotYourAccountError if row.is_active else UserNotFoundError


def _check_fields(request: UserRequest, wanted: Mapping[str, Any]) -> None:
    refused = [name for name in wanted if name not in OWN_FIELDS and not request.may_set(name)]
    if refused:
        raise FieldNotYoursError(refused)


async def _require_other_admin(connection: AsyncConnection, row: AnyRow) -> None:
    is_admin = row.role == Role.ADMIN and row.is_active
    if is_admin and not await read_repository.is_other_admin(connection, than=row.id):
        raise LastAdminError


def _new_email(context: Context, email: str) -> dict[str, Any]:
    return {"email": email, "email_signs_in": context.settings.discloses_email, "email_verified_at": None}


async def _record_changes(
    context: Context, connection: AsyncConnection, request: UserRequest, before: AnyRow, changes: Mapping[str, Any]
) -> None:
    """Record the changes, and end the sessions and codes that they invalidate."""
    if fields := [name for name in changes if name not in _RECORDED_APART]:
        # Users sign in with their name, and a name that was given up is free for others: the record has the old one.
        named = {"old_username": before.username, "new_username": changes["username"]} if "username" in fields else {}
        await _record(context, connection, request, Event.USER_CHANGED, fields=fields, **named)
    if "role" in changes:
        await _record(context, connection, request, Event.ROLE_CHANGED, old=before.role, new=changes["role"])
        await sessions.end_all(connection, user_id=request.user_id, reason=EndReason.ROLE)
    if "is_active" in changes:
        await _record(context, connection, request, Event.ACTIVATED if changes["is_active"] else Event.DEACTIVATED)
        await _end_access(connection, request.user_id)


async def _end_access(connection: AsyncConnection, user_id: int) -> None:
    """End all sessions, and invalidate all codes."""
    await sessions.end_all(connection, user_id=user_id, reason=EndReason.CLOSED)
    await codes.forget_all(connection, user_id=user_id)


async def _notify_of_email(
    context: Context, connection: AsyncConnection, request: UserRequest, before: AnyRow, after: AnyRow
) -> None:
    await _record(context, connection, request, Event.EMAIL_CHANGED)
    await codes.forget_all(connection, user_id=request.user_id)
    # An old address that cannot sign in may be another person's: it gets no notice.
    if before.notice_email:
        values = {"username": after.username, "new_email": after.email}
        await outbox.put(context, connection, Mail(Template.EMAIL_CHANGED, to=before.notice_email, values=values))
    if outbox.is_enabled(context) and after.is_active:
        to = Addressee(request.user_id, after.username, after.email)
        await mailing.send(context, connection, purpose=Purpose.VERIFY_EMAIL, to=to)


async def _record(
    context: Context, connection: AsyncConnection, request: UserRequest, event: Event, **details: object
) -> None:
    ids = {"actor_id": request.caller.id, "subject_id": request.user_id}
    await record(context, connection, event, details=details, **ids)
