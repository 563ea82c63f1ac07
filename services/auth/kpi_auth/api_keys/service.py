"""Making, changing and ending API keys. Each is one transaction, together with its audit record.

The accounts of the caller and of the owner are locked before the key, in the order of their ids, so that no deadlock is
possible.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from kpi_shared.caller import Role, Subject
from kpi_shared.database import AnyRow
from kpi_shared.errors import ForbiddenError, UnauthenticatedError
from kpi_shared.http.conditional import Condition
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.accounts import write_repository as accounts
from kpi_auth.api_keys import repository
from kpi_auth.api_keys.errors import (
    KeyHeldError,
    KeyInUseError,
    KeyLimitError,
    KeyNotActiveError,
    KeyNotFoundError,
    KeyReplacedError,
    NotYourKeyError,
    ReplacedKeyError,
)
from kpi_auth.api_keys.etags import check_match
from kpi_auth.api_keys.fields import EndReason, KeyState
from kpi_auth.api_keys.rights import Bounds, apply_bounds, check_manageable, find_bounds, is_narrower
from kpi_auth.audit.models import Event
from kpi_auth.audit.service import record
from kpi_auth.context import Context
from kpi_auth.tokens import api_key_texts
from kpi_auth.tokens.errors import InvalidKeyError

# What a successor takes over from the key that it replaces.
_INHERITED = ("name", "description", "scopes", "allowed_networks", "rate_limit_requests", "rate_limit_window")


class NewKey(NamedTuple):
    """A row and the text of the key, which exists only here."""

    row: AnyRow
    text: str


class RotatedKey(NamedTuple):
    new: NewKey
    old: AnyRow


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """A request to change a key: the caller, the key, and the condition on the key's version."""

    caller: Subject
    key_id: int
    condition: Condition | None


async def create(
    context: Context, connection: AsyncConnection, *, caller: Subject, wanted: Mapping[str, Any]
) -> NewKey:
    """Add a key of the caller's own; BeyondRightsError or KeyLimitError."""
    role = await _lock_caller(connection, caller)
    columns = apply_bounds(await _find_bounds(connection, caller, role), wanted)
    new = await add(context, connection, user_id=caller.id, columns=columns)
    details = {"name": new.row.name, "scopes": new.row.scopes}
    await _record(context, connection, Event.API_KEY_CREATED, caller, new.row, **details)
    return new


async def add(context: Context, connection: AsyncConnection, *, user_id: int, columns: Mapping[str, Any]) -> NewKey:
    """Add a key of an account that is locked; KeyLimitError if it has as many as are allowed."""
    if await repository.count(connection, user_id=user_id) >= context.settings.api_key_limit:
        raise KeyLimitError
    key_id = await repository.next_id(connection)
    text = api_key_texts.make(key_id=key_id, environment=context.settings.app_env)
    hashed = context.key_hasher.hash(api_key_texts.parse(text))
    values = {"id": key_id, "user_id": user_id, "prefix": api_key_texts.shown_prefix(text), "secret_hash": hashed}
    return NewKey(await repository.add(connection, {**columns, **values}), text)


async def get_visible_or_raise(connection: AsyncConnection, *, key_id: int, caller: Subject) -> AnyRow:
    return _check_visible(caller, await repository.get(connection, key_id=key_id))


async def change(
    context: Context, connection: AsyncConnection, *, request: KeyRequest, wanted: Mapping[str, Any]
) -> AnyRow:
    """Set the wanted columns and return the key. Values that are equal to the current ones are no change."""
    row, role = await _lock_key(connection, request)
    if row.replaced_by is not None and "expires_at" in wanted:
        # A rotation has decided when it ends.
        raise KeyReplacedError
    columns = apply_bounds(await _find_bounds(connection, request.caller, role), wanted)
    changes = {name: value for name, value in columns.items() if getattr(row, name) != value}
    if not changes:
        return row
    after = await repository.change(connection, before=row, values=changes)
    if row.state == after.state == KeyState.ACTIVE and is_narrower(after, before=row):
        await repository.end_uses(connection, key_id=row.id, user_id=row.user_id)
    await _record(context, connection, Event.API_KEY_CHANGED, request.caller, row, fields=sorted(changes))
    return after


async def set_active(context: Context, connection: AsyncConnection, *, request: KeyRequest, is_active: bool) -> AnyRow:
    """KeyInUseError for a key that would deactivate itself, KeyHeldError for one that an admin has deactivated.

    A key that is in this state already stays as it is.
    """
    row, _role = await _lock_key(connection, request)
    if not is_active and request.caller.api_key_id == row.id:
        raise KeyInUseError
    if is_active and row.is_held and not request.caller.is_admin:
        raise KeyHeldError
    # Once an admin has deactivated another's key, the owner's own deactivation does not make it the owner's again.
    is_held = not is_active and (row.is_held or row.user_id != request.caller.id)
    if (row.is_active, row.is_held) == (is_active, is_held):
        return row
    after = await repository.change(connection, before=row, values={"is_active": is_active, "is_held": is_held})
    event = Event.API_KEY_ACTIVATED if is_active else Event.API_KEY_DEACTIVATED
    await _record(context, connection, event, request.caller, row)
    return after


async def delete(context: Context, connection: AsyncConnection, *, request: KeyRequest) -> None:
    """KeyInUseError for a key that would delete itself."""
    row, _role = await _lock_key(connection, request)
    if request.caller.api_key_id == row.id:
        raise KeyInUseError
    await repository.delete(connection, key_id=row.id, reason=EndReason.DELETED)
    await _record(context, connection, Event.API_KEY_DELETED, request.caller, row, name=row.name)


async def rotate(
    context: Context,
    connection: AsyncConnection,
    *,
    request: KeyRequest,
    grace: timedelta,
    expires_at: datetime | None,
) -> RotatedKey:
    """Make the key's successor; both work for ``grace``, and the old one never past its own end."""
    row, role = await _lock_key(connection, request)
    if row.user_id != request.caller.id:
        # The successor's text would let an admin act as the owner.
        raise NotYourKeyError
    if row.replaced_by is not None:
        raise KeyReplacedError
    if row.state != KeyState.ACTIVE:
        raise KeyNotActiveError
    inherited = {name: getattr(row, name) for name in _INHERITED} | {"expires_at": expires_at or row.expires_at}
    columns = apply_bounds(await _find_bounds(connection, request.caller, role), inherited)
    new = await add(context, connection, user_id=row.user_id, columns=columns)
    old = await repository.end_after(connection, before=row, grace=grace, successor=new.row.id)
    details = {"successor_id": new.row.id, "grace_seconds": int(grace.total_seconds())}
    await _record(context, connection, Event.API_KEY_ROTATED, request.caller, row, **details)
    return RotatedKey(new, old)


async def revoke_own(context: Context, connection: AsyncConnection, *, caller: Subject) -> None:
    """Delete the key that the caller uses."""
    key_id = caller.api_key_id
    if key_id is None:
        raise InvalidKeyError
    if await repository.delete(connection, key_id=key_id, reason=EndReason.REVOKED):
        details = {"key_id": key_id}
        await record(context, connection, Event.API_KEY_REVOKED, subject_id=caller.id, details=details)


async def revoke_by_text(context: Context, connection: AsyncConnection, *, text: str) -> None:
    """Delete a key in any state, by possession alone; InvalidKeyError if it is not genuine."""
    parsed = api_key_texts.parse(text)
    row = await repository.get_hash(connection, key_id=parsed.key_id)
    # Nothing is locked for a text that is not genuine.
    if row is None or not context.key_hasher.matches(parsed, row.secret_hash):
        raise InvalidKeyError
    if not await repository.delete(connection, key_id=row.id, reason=EndReason.REVOKED):
        raise InvalidKeyError
    # The holder of a key may have found it: the actor is unknown.
    details = {"key_id": row.id, "name": row.name}
    await record(context, connection, Event.API_KEY_REVOKED, subject_id=row.user_id, details=details)


async def _lock_caller(connection: AsyncConnection, caller: Subject) -> str:
    """The caller's current role. Since the token was verified, the account may have been closed or demoted."""
    account = await accounts.lock_open(connection, user_id=caller.id)
    if account is None:
        raise UnauthenticatedError("The account of this token has been deactivated or deleted", invalid=True)
    if caller.is_admin and account.role != Role.ADMIN:
        raise ForbiddenError("Only an admin may do this")
    return str(account.role)


async def _find_bounds(connection: AsyncConnection, caller: Subject, owner_role: str) -> Bounds:
    return find_bounds(caller, owner_role=owner_role, own=await _get_own_key(connection, caller))


async def _get_own_key(connection: AsyncConnection, caller: Subject) -> AnyRow | None:
    """The key that the caller uses, or None for a person; ReplacedKeyError if it has been rotated."""
    if caller.api_key_id is None:
        return None
    own = await repository.get(connection, key_id=caller.api_key_id)
    if own is None or own.state != KeyState.ACTIVE:
        raise UnauthenticatedError(
            "The API key of this token has been deleted or deactivated, or has expired", invalid=True
        )
    if own.replaced_by is not None:
        raise ReplacedKeyError
    return own


async def _lock_key(connection: AsyncConnection, request: KeyRequest) -> tuple[AnyRow, str]:
    """The key that the caller may change, and its owner's role."""
    found = _check_visible(request.caller, await repository.get(connection, key_id=request.key_id))
    role = await _lock_accounts(connection, request.caller, owner_id=found.user_id)
    row = _check_visible(request.caller, await repository.lock(connection, key_id=request.key_id))
    await _get_own_key(connection, request.caller)
    check_manageable(request.caller, row)
    check_match(request.condition, version=row.version, key_id=row.id)
    return row, role


async def _lock_accounts(connection: AsyncConnection, caller: Subject, *, owner_id: int) -> str:
    """Lock the caller and the owner of a key; returns the owner's role.

    In the order of their ids, as every request does that locks two accounts: else they could wait for each other.
    """
    if owner_id == caller.id:
        return await _lock_caller(connection, caller)
    role = str(Role.USER)
    for user_id in sorted((owner_id, caller.id)):
        if user_id == caller.id:
            await _lock_caller(connection, caller)
        elif owner := await accounts.lock(connection, user_id=owner_id):
            role = str(owner.role)
    return role


def _check_visible(caller: Subject, row: AnyRow | None) -> AnyRow:
    """A key that the caller may not see does not exist."""
    if row is None or not (row.user_id == caller.id or caller.is_admin):
        raise KeyNotFoundError
    return row


async def _record(
    context: Context, connection: AsyncConnection, event: Event, caller: Subject, row: AnyRow, **details: object
) -> None:
    by_key = {"by_key_id": caller.api_key_id} if caller.api_key_id is not None else {}
    await record(
        context,
        connection,
        event,
        actor_id=caller.id,
        subject_id=row.user_id,
        details={"key_id": row.id, **details, **by_key},
    )
