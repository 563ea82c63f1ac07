"""The SQL of e-mail addresses. Statements are built once; each call only binds its values."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import TextClause, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

# Conflicts are asked for first: PostgreSQL logs a broken constraint together with its values.
_FREE = """NOT EXISTS (
    SELECT FROM users AS other WHERE other.email = :email AND other.email_verified_at IS NOT NULL AND other.id <> :id
)"""
# Whoever has shown to read an address has it before those who only said that it was theirs.
_release = text("""
    UPDATE users SET email_signs_in = false, version = version + 1, updated_at = now()
    WHERE email = :email AND email_signs_in AND email_verified_at IS NULL AND id <> :id
""")
_prove = text(f"""
    UPDATE users
    SET email_signs_in = true, email_verified_at = now(), version = version + 1, updated_at = now()
    WHERE id = :id AND email = :email AND email_verified_at IS NULL AND {_FREE}
    RETURNING id
""")  # noqa: S608 no value is written into it
_move = text(f"""
    UPDATE users
    SET email = :email, email_signs_in = true, email_verified_at = now(), version = version + 1, updated_at = now()
    WHERE id = :id AND {_FREE}
    RETURNING id
""")  # noqa: S608 as above
_is_proven = text("""
    SELECT EXISTS (SELECT FROM users WHERE id = :id AND email = :email AND email_verified_at IS NOT NULL)
""")
_is_current = text("SELECT email = :email FROM users WHERE id = :id")
_other_holder = text("SELECT username FROM users WHERE email = :email AND email_verified_at IS NOT NULL AND id <> :id")
_account = text("SELECT username, CASE WHEN email_signs_in THEN email END AS told_at FROM users WHERE id = :id")
# As for a forgotten password: where the address names no account alone, the first that has it is taken.
_unproven = text("""
    SELECT id, username, email, (
        SELECT other.username FROM users AS other
        WHERE other.email = users.email AND other.email_verified_at IS NOT NULL AND other.id <> users.id
    ) AS holder
    FROM users
    WHERE (lower(username) = :login OR email = :login)
        AND email IS NOT NULL AND email_verified_at IS NULL AND is_active AND deleted_at IS NULL
    ORDER BY email_signs_in DESC, id
    LIMIT 1
""")


class Unproven(NamedTuple):
    """An account whose address is not verified, and the account that has the address already, if one has."""

    id: int
    username: str
    email: str
    holder: str | None


class Told(NamedTuple):
    """Whom to tell of a change, and where; None where the address was not shown to be theirs."""

    username: str
    told_at: str | None


async def prove(connection: AsyncConnection, *, user_id: int, email: str) -> bool:
    """Take the address for verified.

    False where it is not the account's, another account has it, or it was verified before.
    """
    return await _claimed(connection, _prove, {"id": user_id, "email": email})


async def move(connection: AsyncConnection, *, user_id: int, email: str) -> bool:
    """Give the account this address, verified; False where another account has it."""
    return await _claimed(connection, _move, {"id": user_id, "email": email})


async def is_proven(connection: AsyncConnection, *, user_id: int, email: str) -> bool:
    return bool(await connection.scalar(_is_proven, {"id": user_id, "email": email}))


async def is_current(connection: AsyncConnection, *, user_id: int, email: str) -> bool:
    return bool(await connection.scalar(_is_current, {"id": user_id, "email": email}))


async def get(connection: AsyncConnection, *, user_id: int) -> Told:
    return Told(*(await connection.execute(_account, {"id": user_id})).one())


async def other_holder_of(connection: AsyncConnection, *, email: str, user_id: int) -> str | None:
    """The username of another account, if its owner has shown to read the address."""
    values = {"email": email, "id": user_id}
    return (await connection.execute(_other_holder, values)).scalar_one_or_none()


async def unproven(connection: AsyncConnection, *, login: str) -> Unproven | None:
    """The open account of a username or an address, if its address is yet to be verified."""
    row = (await connection.execute(_unproven, {"login": login})).one_or_none()
    return Unproven(*row) if row is not None else None


async def _claimed(connection: AsyncConnection, statement: TextClause, values: Mapping[str, Any]) -> bool:
    """Of two accounts that claim an address at once, one gets it: the index decides, and only a savepoint is lost."""
    try:
        async with connection.begin_nested():
            await connection.execute(_release, dict(values))
            return (await connection.execute(statement, values)).one_or_none() is not None
    except IntegrityError:
        return False
