"""The SQL that changes accounts. The transaction that changes an account has locked its row first."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from kpi_shared.database import AnyRow
from sqlalchemy import Boolean, bindparam, case, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from kpi_auth.accounts.email_repository import find_holder
from kpi_auth.accounts.errors import EmailTakenError, UsernameTakenError
from kpi_auth.accounts.fragments import SHOWN, STATE
from kpi_auth.accounts.models import NewAccount, User
from kpi_auth.accounts.read_repository import is_username_taken
from kpi_auth.events import repository as events
from kpi_auth.events.fragments import put_from
from kpi_auth.events.models import EventType
from kpi_auth.events.payloads import AccountState

_by_id = col(User.id) == bindparam("of")
# Any number that no other advisory lock of this database has.
_GUARD_ADMINS = 0x6B70695F61646D
_guard_admins = text("SELECT pg_advisory_xact_lock(:number)")
# FOR NO KEY UPDATE: concurrent transactions may insert rows that reference the user. Sign-in locks the user before the
# session as well, so that no deadlock is possible.
_lock = (
    select(
        *SHOWN,
        col(User.password_hash),
        case((col(User.email_signs_in), col(User.email))).label("notice_email"),
    )
    .where(_by_id)
    .with_for_update(key_share=True)
)
# clock_timestamp() also moves within a transaction.
_NEXT_VERSION = {"version": col(User.version) + 1, "updated_at": func.clock_timestamp()}
_close = (
    update(User)
    .where(_by_id)
    .values(is_active=False, deleted_at=func.clock_timestamp(), **_NEXT_VERSION)
    .returning(*SHOWN)
)
_reopen = update(User).where(_by_id).values(is_active=True, deleted_at=None, **_NEXT_VERSION).returning(*SHOWN)
# The version does not change: it stands for the visible fields, and the password is not visible.
_set_password = text("""
    UPDATE users SET password_hash = :new
    WHERE id = :id AND (CAST(:old AS text) IS NULL OR password_hash = :old)
""")
_is_verified = bindparam("is_verified", type_=Boolean)
_add = (
    insert(User).values(email_verified_at=case((_is_verified, func.now()))).on_conflict_do_nothing().returning(*SHOWN)
)
_add_imported = text(f"""
    WITH added AS (
    INSERT INTO users (username, created_at)
    SELECT name, born FROM unnest(CAST(:names AS text[]), CAST(:born AS timestamptz[])) AS given (name, born)
    -- ON CONFLICT alone would use up an id for each existing name.
    WHERE NOT EXISTS (SELECT FROM users WHERE lower(username) = lower(name))
    ON CONFLICT DO NOTHING
    RETURNING *
    )
    {put_from("added", EventType.ACCOUNT_CREATED, account="id", data=STATE)}
""")  # noqa: S608 our own text
_ids_without_credentials = text("""
    SELECT lower(username) AS name, id FROM users
    WHERE lower(username) = ANY(CAST(:names AS text[])) AND password_hash IS NULL AND email IS NULL
""")

_TAKEN = {"uq_users_username": UsernameTakenError, "uq_users_email": EmailTakenError}
_CHANGES = {"username": EventType.ACCOUNT_RENAMED, "role": EventType.ACCOUNT_ROLE_CHANGED}


async def guard_admins(connection: AsyncConnection) -> None:
    """Serialise the transactions that may remove an admin, until the transaction ends.

    Called before any row is locked: if two admins demote each other, the second sees what the first has changed.
    """
    await connection.execute(_guard_admins, {"number": _GUARD_ADMINS})


async def lock(connection: AsyncConnection, *, user_id: int) -> AnyRow | None:
    """The current row of a user, deleted or not, locked until the transaction ends.

    It has the visible columns, ``password_hash`` and ``notice_email``.
    """
    return (await connection.execute(_lock, {"of": user_id})).one_or_none()


async def lock_open(connection: AsyncConnection, *, user_id: int, password_hash: str | None = None) -> AnyRow | None:
    """As ``lock``, but None if the account is closed. ``fragments.LOCK_OPEN`` is the same rule in SQL.

    With a hash, also None if the password is no longer the one that was verified.
    """
    row = await lock(connection, user_id=user_id)
    if row is None or not row.is_active or row.deleted_at is not None:
        return None
    return row if password_hash in {None, row.password_hash} else None


async def change(connection: AsyncConnection, *, user_id: int, values: Mapping[str, Any]) -> AnyRow:
    """Set other values of a user whose row is locked; raises UsernameTakenError or EmailTakenError.

    Conflicts are checked first, because PostgreSQL logs a violated constraint together with its values. The constraint
    still decides between concurrent changes.
    """
    if "username" in values and await is_username_taken(connection, username=values["username"], other_than=user_id):
        raise UsernameTakenError
    if "email" in values and await find_holder(connection, email=values["email"], other_than=user_id):
        raise EmailTakenError
    statement = update(User).where(_by_id).values(**values, **_NEXT_VERSION).returning(*SHOWN)
    try:
        row = (await connection.execute(statement, {"of": user_id})).one()
    except IntegrityError as error:
        raise _to_conflict(error) from None
    for event_type in _types_of_change(values):
        await _put(connection, event_type, row)
    return row


def _types_of_change(values: Mapping[str, Any]) -> list[EventType]:
    types = [event_type for name, event_type in _CHANGES.items() if name in values]
    if "is_active" in values:
        types.append(EventType.ACCOUNT_ACTIVATED if values["is_active"] else EventType.ACCOUNT_DEACTIVATED)
    return types or [EventType.ACCOUNT_CHANGED]


async def _put(connection: AsyncConnection, event_type: EventType, row: AnyRow) -> None:
    state = AccountState(
        id=row.id,
        username=row.username,
        role=row.role,
        is_active=row.is_active,
        is_deleted=row.deleted_at is not None,
        version=row.version,
    )
    await events.put(connection, event_type, state, account_id=row.id)


def _to_conflict(error: IntegrityError) -> Exception:
    diagnosis = getattr(error.orig, "diag", None)
    taken = _TAKEN.get(getattr(diagnosis, "constraint_name", "") or "")
    return taken() if taken else error


async def close(connection: AsyncConnection, *, user_id: int) -> None:
    row = (await connection.execute(_close, {"of": user_id})).one()
    await _put(connection, EventType.ACCOUNT_DELETED, row)


async def reopen(connection: AsyncConnection, *, user_id: int) -> AnyRow:
    row = (await connection.execute(_reopen, {"of": user_id})).one()
    await _put(connection, EventType.ACCOUNT_RESTORED, row)
    return row


async def set_password(connection: AsyncConnection, *, user_id: int, new: str, old: str | None = None) -> None:
    """Store another hash; with ``old``, only if the stored hash is still this one."""
    await connection.execute(_set_password, {"id": user_id, "new": new, "old": old})


async def add(connection: AsyncConnection, account: NewAccount) -> AnyRow | None:
    """Insert an account; None if the username, or an address that can sign in, is taken.

    ON CONFLICT avoids the error: PostgreSQL logs a violated constraint together with its values.
    """
    row = (await connection.execute(_add, account._asdict())).one_or_none()
    if row is not None:
        await _put(connection, EventType.ACCOUNT_CREATED, row)
    return row


async def add_imported(connection: AsyncConnection, *, born: Mapping[str, datetime]) -> dict[str, int]:
    """Add an account without password and address for each name that does not exist yet.

    Returns the ids, by username in lower case, of all accounts with these names that have neither.
    """
    await connection.execute(_add_imported, {"names": list(born), "born": list(born.values())})
    rows = await connection.execute(_ids_without_credentials, {"names": [name.lower() for name in born]})
    return {row.name: row.id for row in rows}
