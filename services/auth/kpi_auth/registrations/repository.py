"""The SQL of registration. Statements are built once; each call only binds its values."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_add = text("""
    INSERT INTO users (username, email, email_signs_in, full_name, bio, password_hash, role, is_active)
    VALUES (:username, :email, :email_signs_in, :full_name, :bio, :password_hash, :role, :is_active)
    ON CONFLICT DO NOTHING
    RETURNING id
""")
_username_is_taken = text("SELECT EXISTS (SELECT FROM users WHERE lower(username) = lower(:username))")
_holder_of = text("""
    SELECT username FROM users WHERE email = :email AND email_signs_in AND (:said OR email_verified_at IS NOT NULL)
""")


async def add(connection: AsyncConnection, values: Mapping[str, Any]) -> int | None:
    """Insert a user and return the id; None when the username, or an address that signs in, is taken.

    A conflict is asked for instead of run into: PostgreSQL logs a broken constraint together with its values.
    """
    return (await connection.execute(_add, values)).scalar_one_or_none()


async def username_is_taken(connection: AsyncConnection, *, username: str) -> bool:
    return bool(await connection.scalar(_username_is_taken, {"username": username}))


async def holder_of(connection: AsyncConnection, *, email: str, said: bool) -> str | None:
    """The username of the account, open or closed, whose owner has shown to read the address.

    With ``said``, also of one whose owner only says so, and whom the address lets in.
    """
    return (await connection.execute(_holder_of, {"email": email, "said": said})).scalar_one_or_none()
