"""The SQL of accounts' e-mail addresses. Statements are built once; each call only binds its values."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.accounts.fragments import IS_OPEN, STATE
from kpi_auth.accounts.models import EmailHolder, Recipient
from kpi_auth.events.fragments import put_from
from kpi_auth.events.models import EventType

# Conflicts are checked first: PostgreSQL logs a violated constraint together with its values.
_FREE = """NOT EXISTS (
    SELECT FROM users AS other WHERE other.email = :email AND other.email_verified_at IS NOT NULL AND other.id <> :id
)"""


def _with_event(update: str) -> TextClause:
    """The version is part of the state that other parts keep, although they do not see an address."""
    return text(f"""
        WITH changed AS ({update} RETURNING *),
        event AS ({put_from("changed", EventType.ACCOUNT_CHANGED, account="id", data=STATE)})
        SELECT id FROM changed
    """)  # noqa: S608 our own text


# An account that has verified an address takes it from the accounts that only claim it.
_release = _with_event("""
    UPDATE users SET email_signs_in = false, version = version + 1, updated_at = now()
    WHERE email = :email AND email_signs_in AND email_verified_at IS NULL AND id <> :id
""")
_verify = _with_event(f"""
    UPDATE users
    SET email_signs_in = true, email_verified_at = now(), version = version + 1, updated_at = now()
    WHERE id = :id AND email = :email AND email_verified_at IS NULL AND {_FREE}
""")  # noqa: S608 our own text
_change = _with_event(f"""
    UPDATE users
    SET email = :email, email_signs_in = true, email_verified_at = now(), version = version + 1, updated_at = now()
    WHERE id = :id AND {_FREE}
""")  # noqa: S608 as above
_is_verified = text("""
    SELECT EXISTS (SELECT FROM users WHERE id = :id AND email = :email AND email_verified_at IS NOT NULL)
""")
# An address that can sign in identifies exactly one account, open or closed.
_holder = text("""
    SELECT id, username FROM users
    WHERE email = :email AND email_signs_in AND (email_verified_at IS NOT NULL OR NOT :is_verified)
        AND id IS DISTINCT FROM CAST(:other_than AS bigint)
""")
# As for a forgotten password: if several accounts claim the address, the oldest is selected.
_unverified = text(f"""
    SELECT id, username, email, (
        SELECT other.username FROM users AS other
        WHERE other.email = users.email AND other.email_verified_at IS NOT NULL AND other.id <> users.id
    ) AS holder
    FROM users
    WHERE (lower(username) = :login OR email = :login)
        AND email IS NOT NULL AND email_verified_at IS NULL AND {IS_OPEN}
    ORDER BY email_signs_in DESC, id
    LIMIT 1
""")  # noqa: S608 as above


async def verify(connection: AsyncConnection, *, user_id: int, email: str) -> bool:
    """Mark the address as verified.

    False if it is not the account's address, if another account has it, or if it was verified before.
    """
    return await _claim(connection, _verify, {"id": user_id, "email": email})


async def change(connection: AsyncConnection, *, user_id: int, email: str) -> bool:
    """Set the account's address and mark it as verified; False if another account has it."""
    return await _claim(connection, _change, {"id": user_id, "email": email})


async def is_verified(connection: AsyncConnection, *, user_id: int, email: str) -> bool:
    return bool(await connection.scalar(_is_verified, {"id": user_id, "email": email}))


async def find_holder(
    connection: AsyncConnection, *, email: str, verified: bool = False, other_than: int | None = None
) -> EmailHolder | None:
    """The account, open or closed, that can sign in with the address.

    With ``verified``, only if the address is verified.
    """
    values = {"email": email, "is_verified": verified, "other_than": other_than}
    row = (await connection.execute(_holder, values)).one_or_none()
    return EmailHolder(*row) if row is not None else None


async def find_unverified(connection: AsyncConnection, *, login: str) -> Recipient | None:
    """The open account with this username or address, if its address is not verified yet."""
    row = (await connection.execute(_unverified, {"login": login})).one_or_none()
    return Recipient(*row) if row is not None else None


async def _claim(connection: AsyncConnection, statement: TextClause, values: Mapping[str, Any]) -> bool:
    """If two accounts claim an address at once, the unique index decides; only the savepoint is rolled back."""
    try:
        async with connection.begin_nested():
            await connection.execute(_release, dict(values))
            return (await connection.execute(statement, values)).one_or_none() is not None
    except IntegrityError:
        return False
