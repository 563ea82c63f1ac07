"""The SQL of single-use codes."""

from collections.abc import Sequence
from datetime import timedelta

from kpi_shared.database import AnyRow
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.accounts.fragments import IS_USER, TABLE

# Adds nothing if the user does not exist, in the same time.
_add = text(f"""
    INSERT INTO one_time_codes (user_id, purpose, code_hash, email, expires_at)
    SELECT id, :purpose, :code_hash, :email, now() + :lifetime FROM {TABLE} WHERE {IS_USER}
""")  # noqa: S608 our own text
_peek = text("""
    SELECT user_id, purpose, email FROM one_time_codes
    WHERE code_hash = :code_hash AND purpose = ANY(:purposes) AND expires_at > now()
""")
_take = text("""
    DELETE FROM one_time_codes
    WHERE code_hash = :code_hash AND purpose = ANY(:purposes) AND expires_at > now()
    RETURNING user_id, purpose, email
""")
_forget_all = text("DELETE FROM one_time_codes WHERE user_id = :user_id")
_forget_old = text("""
    DELETE FROM one_time_codes WHERE id IN (
        SELECT id FROM one_time_codes WHERE expires_at < now() LIMIT :most FOR UPDATE SKIP LOCKED
    )
""")


async def add(
    connection: AsyncConnection, *, user_id: int, purpose: str, code_hash: bytes, email: str, lifetime: timedelta
) -> None:
    values = {"user_id": user_id, "purpose": purpose, "code_hash": code_hash, "email": email, "lifetime": lifetime}
    await connection.execute(_add, values)


async def peek(connection: AsyncConnection, *, code_hash: bytes, purposes: Sequence[str]) -> AnyRow | None:
    values = {"code_hash": code_hash, "purposes": list(purposes)}
    return (await connection.execute(_peek, values)).one_or_none()


async def take(connection: AsyncConnection, *, code_hash: bytes, purposes: Sequence[str]) -> AnyRow | None:
    """Consume a code. Of two concurrent calls one gets it: the other waits for the row, which is then deleted."""
    values = {"code_hash": code_hash, "purposes": list(purposes)}
    return (await connection.execute(_take, values)).one_or_none()


async def forget_all(connection: AsyncConnection, *, user_id: int) -> None:
    await connection.execute(_forget_all, {"user_id": user_id})


async def forget_old(connection: AsyncConnection, *, most: int) -> int:
    """Delete expired codes; returns their number."""
    return (await connection.execute(_forget_old, {"most": most})).rowcount
