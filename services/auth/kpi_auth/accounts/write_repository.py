"""The SQL of changes to accounts, each made by whoever holds the user's row."""

from collections.abc import Mapping
from typing import Any

from kpi_shared.database import AnyRow
from sqlalchemy import TextClause, bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from kpi_auth.users.errors import EmailTakenError, UsernameTakenError
from kpi_auth.users.models import User
from kpi_auth.users.repository import shown

_by_id = col(User.id) == bindparam("of")
# Any number will do that no other advisory lock of this database has.
_GUARD_ADMINS = 0x6B70695F61646D
_guard_admins = text("SELECT pg_advisory_xact_lock(:number)")
# Not for key update: rows of other tables may refer to it meanwhile. Signing in takes the same lock before any
# session's, so that nobody waits for each other.
_hold = (
    select(*shown, col(User.password_hash), col(User.email_signs_in))
    .where(col(User.id) == bindparam("id"))
    .with_for_update(key_share=True)
)
_find = select(*shown).where(
    func.lower(col(User.username)) == func.lower(bindparam("username")), col(User.deleted_at).is_(None)
)
_other_admin = text("""
    SELECT EXISTS (
        SELECT FROM users WHERE role = 'admin' AND is_active AND deleted_at IS NULL AND id <> :id
    )
""")
_name_is_taken = text("SELECT EXISTS (SELECT FROM users WHERE lower(username) = lower(:username) AND id <> :id)")
_email_is_taken = text("SELECT EXISTS (SELECT FROM users WHERE email = :email AND email_signs_in AND id <> :id)")
# Later than any earlier moment of the same transaction too.
_moved = {"version": col(User.version) + 1, "updated_at": func.clock_timestamp()}
_close = update(User).where(_by_id).values(is_active=False, deleted_at=func.clock_timestamp(), **_moved)
_reopen = update(User).where(_by_id).values(is_active=True, deleted_at=None, **_moved).returning(*shown)
_set_password = update(User).where(_by_id).values(password_hash=bindparam("new"), **_moved)
_add = insert(User).on_conflict_do_nothing().returning(*shown)

_TAKEN = {"uq_users_username": UsernameTakenError, "uq_users_email": EmailTakenError}


async def guard_admins(connection: AsyncConnection) -> None:
    """One at a time until the transaction ends, for whoever may take an admin away.

    It comes before any row is held: of two admins who demote each other, the second finds what the first has done.
    """
    await connection.execute(_guard_admins, {"number": _GUARD_ADMINS})


async def hold(connection: AsyncConnection, *, user_id: int) -> AnyRow | None:
    """The user as it is now, deleted or not, held until the transaction ends."""
    return (await connection.execute(_hold, {"id": user_id})).one_or_none()


async def find_by_name(connection: AsyncConnection, *, username: str) -> AnyRow | None:
    """A user by a username in any case; None for a deleted one."""
    return (await connection.execute(_find, {"username": username})).one_or_none()


async def is_other_admin(connection: AsyncConnection, *, than: int) -> bool:
    """Is there an active admin beside this user?"""
    return bool(await connection.scalar(_other_admin, {"id": than}))


async def change(connection: AsyncConnection, *, user_id: int, values: Mapping[str, Any]) -> AnyRow:
    """Set columns of a user whom the caller holds; UsernameTakenError or EmailTakenError.

    What is taken is asked for first: PostgreSQL logs a broken constraint together with its values. It still breaks
    where two ask at once.
    """
    if "username" in values:
        await _refuse_taken(connection, _name_is_taken, UsernameTakenError, id=user_id, username=values["username"])
    if "email" in values:
        await _refuse_taken(connection, _email_is_taken, EmailTakenError, id=user_id, email=values["email"])
    statement = update(User).where(_by_id).values(**values, **_moved).returning(*shown)
    try:
        return (await connection.execute(statement, {"of": user_id})).one()
    except IntegrityError as error:
        raise _taken_by(error) from None


async def _refuse_taken(
    connection: AsyncConnection,
    statement: TextClause,
    error: type[UsernameTakenError | EmailTakenError],
    **values: object,
) -> None:
    if await connection.scalar(statement, values):
        raise error


def _taken_by(error: IntegrityError) -> Exception:
    diagnosis = getattr(error.orig, "diag", None)
    taken = _TAKEN.get(getattr(diagnosis, "constraint_name", "") or "")
    return taken() if taken else error


async def close(connection: AsyncConnection, *, user_id: int) -> None:
    await connection.execute(_close, {"of": user_id})


async def reopen(connection: AsyncConnection, *, user_id: int) -> AnyRow:
    return (await connection.execute(_reopen, {"of": user_id})).one()


async def set_password(connection: AsyncConnection, *, user_id: int, password_hash: str) -> None:
    await connection.execute(_set_password, {"of": user_id, "new": password_hash})


async def add(connection: AsyncConnection, *, values: Mapping[str, Any]) -> AnyRow | None:
    """Insert an account with any columns; None when the username or the address is taken."""
    return (await connection.execute(_add, dict(values))).one_or_none()
