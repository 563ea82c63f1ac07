"""The SQL that changes accounts. Changes to one account are made by who has locked its row."""

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
from kpi_auth.accounts.fragments import SHOWN
from kpi_auth.accounts.models import NewAccount, User
from kpi_auth.accounts.read_repository import is_username_taken

_by_id = col(User.id) == bindparam("of")
# Any number will do that no other advisory lock of this database has.
_GUARD_ADMINS = 0x6B70695F61646D
_guard_admins = text("SELECT pg_advisory_xact_lock(:number)")
# Not for key update: rows of other tables may refer to it meanwhile. Signing in takes the same lock before any
# session's, so that no two transactions wait for each other.
_lock = (
    select(
        *SHOWN,
        col(User.password_hash),
        case((col(User.email_signs_in), col(User.email))).label("notice_email"),
    )
    .where(_by_id)
    .with_for_update(key_share=True)
)
# Later than any earlier moment of the same transaction too.
_NEXT_VERSION = {"version": col(User.version) + 1, "updated_at": func.clock_timestamp()}
_close = update(User).where(_by_id).values(is_active=False, deleted_at=func.clock_timestamp(), **_NEXT_VERSION)
_reopen = update(User).where(_by_id).values(is_active=True, deleted_at=None, **_NEXT_VERSION).returning(*SHOWN)
# The version stays: it moves with what is shown of a user, and no password is.
_set_password = text("""
    UPDATE users SET password_hash = :new
    WHERE id = :id AND (CAST(:old AS text) IS NULL OR password_hash = :old)
""")
_is_verified = bindparam("is_verified", type_=Boolean)
_add = (
    insert(User).values(email_verified_at=case((_is_verified, func.now()))).on_conflict_do_nothing().returning(*SHOWN)
)
_add_imported = text("""
    INSERT INTO users (username, created_at)
    SELECT name, born FROM unnest(CAST(:names AS text[]), CAST(:born AS timestamptz[])) AS given (name, born)
    -- The conflict clause alone would use up an id for each name that is there.
    WHERE NOT EXISTS (SELECT FROM users WHERE lower(username) = lower(name))
    ON CONFLICT DO NOTHING
""")
_ids_without_credentials = text("""
    SELECT lower(username) AS name, id FROM users
    WHERE lower(username) = ANY(CAST(:names AS text[])) AND password_hash IS NULL AND email IS NULL
""")

_TAKEN = {"uq_users_username": UsernameTakenError, "uq_users_email": EmailTakenError}


async def guard_admins(connection: AsyncConnection) -> None:
    """One at a time until the transaction ends, for transactions that may take an admin away.

    It comes before any row is locked: of two admins who demote each other, the second finds what the first has done.
    """
    await connection.execute(_guard_admins, {"number": _GUARD_ADMINS})


async def lock(connection: AsyncConnection, *, user_id: int) -> AnyRow | None:
    """The user as it is now, deleted or not, locked until the transaction ends.

    The row has what is shown, ``password_hash`` and ``notice_email``.
    """
    return (await connection.execute(_lock, {"of": user_id})).one_or_none()


async def lock_open(connection: AsyncConnection, *, user_id: int, password_hash: str | None = None) -> AnyRow | None:
    """The same; None if the account was closed meanwhile.

    With a hash, also None if the password is no longer the one that was verified.
    """
    row = await lock(connection, user_id=user_id)
    if row is None or not row.is_active or row.deleted_at is not None:
        return None
    return row if password_hash in {None, row.password_hash} else None


async def change(connection: AsyncConnection, *, user_id: int, values: Mapping[str, Any]) -> AnyRow:
    """Set columns of a user whose row is locked; UsernameTakenError or EmailTakenError.

    What is taken is asked for first: PostgreSQL logs a broken constraint together with its values. It still breaks
    where two ask at once.
    """
    if "username" in values and await is_username_taken(connection, username=values["username"], other_than=user_id):
        raise UsernameTakenError
    if "email" in values and await find_holder(connection, email=values["email"], other_than=user_id):
        raise EmailTakenError
    statement = update(User).where(_by_id).values(**values, **_NEXT_VERSION).returning(*SHOWN)
    try:
        return (await connection.execute(statement, {"of": user_id})).one()
    except IntegrityError as error:
        raise _name_conflict(error) from None


def _name_conflict(error: IntegrityError) -> Exception:
    diagnosis = getattr(error.orig, "diag", None)
    taken = _TAKEN.get(getattr(diagnosis, "constraint_name", "") or "")
    return taken() if taken else error


async def close(connection: AsyncConnection, *, user_id: int) -> None:
    await connection.execute(_close, {"of": user_id})


async def reopen(connection: AsyncConnection, *, user_id: int) -> AnyRow:
    return (await connection.execute(_reopen, {"of": user_id})).one()


async def set_password(connection: AsyncConnection, *, user_id: int, new: str, old: str | None = None) -> None:
    """Store another hash; with ``old``, only if that is still the one that is there."""
    await connection.execute(_set_password, {"id": user_id, "new": new, "old": old})


async def add(connection: AsyncConnection, account: NewAccount) -> AnyRow | None:
    """Insert an account; None when the username, or an address that signs in, is taken.

    A conflict is asked for instead of run into: PostgreSQL logs a broken constraint together with its values.
    """
    return (await connection.execute(_add, account._asdict())).one_or_none()


async def add_imported(connection: AsyncConnection, *, born: Mapping[str, datetime]) -> dict[str, int]:
    """Add those of the names that are not there, with no password and no address.

    Returns the ids, by names in lower case, of all accounts of these names that have neither.
    """
    await connection.execute(_add_imported, {"names": list(born), "born": list(born.values())})
    rows = await connection.execute(_ids_without_credentials, {"names": [name.lower() for name in born]})
    return {row.name: row.id for row in rows}
