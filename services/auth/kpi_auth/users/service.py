"""What becomes of an account: changes, deletion, restoration. Each is one transaction with its record.

The order of locks is the same everywhere: first the guard of the admins where one may go, then the user's row, then its
sessions and codes. Signing in takes the user's row and then a session, so neither waits for the other in a circle.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kpi_shared.caller import Role, Subject
from kpi_shared.database import AnyRow
from kpi_shared.errors import ForbiddenError, UnauthenticatedError
from kpi_shared.http.conditional import Condition
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.audit.models import Event
from kpi_auth.audit.origin import Origin
from kpi_auth.audit.service import record
from kpi_auth.codes import service as codes
from kpi_auth.codes.mailing import Addressee, CodeMails
from kpi_auth.codes.models import Purpose
from kpi_auth.mails.outbox import Mail, Template
from kpi_auth.passwords.errors import WrongPasswordError
from kpi_auth.sessions import repository as sessions
from kpi_auth.sessions.models import EndReason
from kpi_auth.sessions.standing import session_number
from kpi_auth.users import changes_repository as repository
from kpi_auth.users.errors import (
    FieldNotYoursError,
    LastAdminError,
    NotDeletedError,
    NotYourAccountError,
    UserNotFoundError,
)
from kpi_auth.users.etags import check_match
from kpi_auth.users.schemas import OWN_FIELDS

# Events of their own; the others are told by their names.
_RECORDED_APART = {"role", "is_active"}


@dataclass(frozen=True, slots=True)
class Act:
    """Somebody's request to change a user: who, whom, from where, and which version they mean."""

    caller: Subject
    user_id: int
    origin: Origin
    condition: Condition | None

    @property
    def is_own(self) -> bool:
        return self.caller.id == self.user_id

    def may_set(self, name: str) -> bool:
        """An admin may set what is not people's own choice; one's own address takes its confirmation of everyone."""
        return self.caller.is_admin and not (name == "email" and self.is_own)

    async def record(self, connection: AsyncConnection, event: Event, **details: object) -> None:
        ids = {"actor_id": self.caller.id, "subject_id": self.user_id}
        await record(connection, event, origin=self.origin, details=details, **ids)


@dataclass(frozen=True, slots=True)
class EmailRules:
    """What a new address means here: does it sign in at once, and who is told of it?"""

    signs_in: bool
    mails: CodeMails


async def check_standing(connection: AsyncConnection, caller: Subject) -> None:
    """Does the caller's session still stand, and is an admin still one?

    It was asked when the request came in. Meanwhile it may have waited, for a connection or for the guard that whoever
    took the role away was holding.
    """
    row = await sessions.subject(connection, session_id=session_number(caller), user_id=caller.id)
    if row is None:
        raise UnauthenticatedError("The session of this token has ended", invalid=True)
    if caller.is_admin and row.role != Role.ADMIN:
        raise ForbiddenError("Only an admin may do this")


def check_allowed(act: Act, row: AnyRow | None) -> AnyRow:
    """The row, if the caller may change this user; what they may not see is not there."""
    if row is None or row.deleted_at is not None:
        raise UserNotFoundError
    if act.is_own or act.caller.is_admin:
        return row
    raise NotYourAccountError if row.is_active else UserNotFoundError


async def change(
    connection: AsyncConnection, act: Act, *, wanted: Mapping[str, Any], email_rules: EmailRules
) -> AnyRow:
    """Set what is wanted and return the user as it is then. What is so already is no change."""
    if act.caller.is_admin and {"role", "is_active"} & wanted.keys():
        await repository.guard_admins(connection)
    await check_standing(connection, act.caller)
    before = check_allowed(act, await repository.hold(connection, user_id=act.user_id))
    _check_fields(act, wanted)
    check_match(act.condition, version=before.version, user_id=act.user_id)
    changes = {name: value for name, value in wanted.items() if getattr(before, name) != value}
    if not changes:
        return before
    if changes.get("role") == Role.USER or changes.get("is_active") is False:
        await _keep_an_admin(connection, before)
    values = changes | (_new_email(changes["email"], email_rules) if "email" in changes else {})
    after = await repository.change(connection, user_id=act.user_id, values=values)
    await _record_changes(connection, act, before, changes)
    if "email" in changes:
        await _tell_of_email(connection, act, before, after, email_rules)
    return after


def _check_fields(act: Act, wanted: Mapping[str, Any]) -> None:
    foreign = [name for name in wanted if name not in OWN_FIELDS and not act.may_set(name)]
    if foreign:
        raise FieldNotYoursError(foreign)


async def _keep_an_admin(connection: AsyncConnection, row: AnyRow) -> None:
    is_admin = row.role == Role.ADMIN and row.is_active
    if is_admin and not await repository.is_other_admin(connection, than=row.id):
        raise LastAdminError


def _new_email(email: str, rules: EmailRules) -> dict[str, Any]:
    return {"email": email, "email_signs_in": rules.signs_in, "email_verified_at": None}


async def _record_changes(connection: AsyncConnection, act: Act, before: AnyRow, changes: Mapping[str, Any]) -> None:
    if told := [name for name in changes if name not in _RECORDED_APART]:
        # A name is what people sign in by, and free for others once it is given up: which one it was must be known.
        named = {"old_username": before.username, "new_username": changes["username"]} if "username" in told else {}
        await act.record(connection, Event.USER_CHANGED, fields=told, **named)
    if "role" in changes:
        await act.record(connection, Event.ROLE_CHANGED, old=before.role, new=changes["role"])
        await sessions.end_all(connection, user_id=act.user_id, reason=EndReason.ROLE)
    if "is_active" in changes:
        await act.record(connection, Event.ACTIVATED if changes["is_active"] else Event.DEACTIVATED)
        await _shut(connection, act.user_id)


async def _shut(connection: AsyncConnection, user_id: int) -> None:
    """Nothing that was handed out before opens the account again."""
    await sessions.end_all(connection, user_id=user_id, reason=EndReason.CLOSED)
    await codes.forget_all(connection, user_id=user_id)


async def _tell_of_email(
    connection: AsyncConnection, act: Act, before: AnyRow, after: AnyRow, rules: EmailRules
) -> None:
    await act.record(connection, Event.EMAIL_CHANGED)
    await codes.forget_all(connection, user_id=act.user_id)
    # The old address is not told where it was anybody's: only one that signs in was shown to be this user's.
    if before.email_signs_in and before.email:
        values = {"username": after.username, "new_email": after.email}
        await rules.mails.outbox.put(connection, Mail(Template.EMAIL_CHANGED, to=before.email, values=values))
    if rules.mails.outbox.is_open and after.is_active:
        to = Addressee(act.user_id, after.username, after.email)
        await rules.mails.send(connection, Purpose.VERIFY_EMAIL, to)


async def delete(connection: AsyncConnection, act: Act, *, proven: str | None) -> None:
    """Close the account for good, as far as its owner is concerned; its names stay reserved.

    ``proven`` is the hash that the caller's password fits. It must still be the account's: whoever changes a password
    meanwhile has shut out those who knew the old one.
    """
    await repository.guard_admins(connection)
    await check_standing(connection, act.caller)
    row = check_allowed(act, await repository.hold(connection, user_id=act.user_id))
    check_match(act.condition, version=row.version, user_id=act.user_id)
    await _keep_an_admin(connection, row)
    if act.is_own and (proven is None or row.password_hash != proven):
        raise WrongPasswordError
    await repository.close(connection, user_id=act.user_id)
    await act.record(connection, Event.DELETED)
    await _shut(connection, act.user_id)


async def restore(connection: AsyncConnection, act: Act) -> AnyRow:
    """Give a deleted account back to its owner, active and with all that it had."""
    await check_standing(connection, act.caller)
    row = await repository.hold(connection, user_id=act.user_id)
    if row is None:
        raise UserNotFoundError
    check_match(act.condition, version=row.version, user_id=act.user_id)
    if row.deleted_at is None:
        raise NotDeletedError
    restored = await repository.reopen(connection, user_id=act.user_id)
    await act.record(connection, Event.RESTORED)
    return restored
