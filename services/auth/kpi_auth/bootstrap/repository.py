"""The SQL of the one-time code. Statements are built once; each call only binds its values."""

from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# A claim of a process that has died ends after this time.
_CLAIM = timedelta(seconds=30)
_issue = text("""
    INSERT INTO bootstrap_codes (code_hash) VALUES (:code_hash)
    ON CONFLICT (id) DO UPDATE SET code_hash = EXCLUDED.code_hash, created_at = now(), claimed_at = NULL
    WHERE bootstrap_codes.created_at <= now() - :lifetime
    RETURNING id
""")
_is_valid = text("""
    SELECT EXISTS (SELECT FROM bootstrap_codes WHERE code_hash = :code_hash AND created_at > now() - :lifetime)
""")
_claim = text("""
    INSERT INTO bootstrap_codes (code_hash, claimed_at) VALUES (:code_hash, now())
    ON CONFLICT (id) DO UPDATE SET claimed_at = now()
    WHERE bootstrap_codes.claimed_at IS NULL OR bootstrap_codes.claimed_at <= now() - :claim
    RETURNING id
""")
_release = text("UPDATE bootstrap_codes SET claimed_at = NULL")


async def issue(connection: AsyncConnection, *, code_hash: bytes, lifetime: timedelta) -> bool:
    """Store a code unless there is a valid one: of several replicas, one gets True and announces its code."""
    values = {"code_hash": code_hash, "lifetime": lifetime}
    return (await connection.execute(_issue, values)).one_or_none() is not None


async def is_valid(connection: AsyncConnection, *, code_hash: bytes, lifetime: timedelta) -> bool:
    return bool(await connection.scalar(_is_valid, {"code_hash": code_hash, "lifetime": lifetime}))


async def claim(connection: AsyncConnection, *, spare_hash: bytes) -> bool:
    """Whether the caller may go on; False while another request does. ``spare_hash`` is stored where no code is."""
    values = {"code_hash": spare_hash, "claim": _CLAIM}
    return (await connection.execute(_claim, values)).one_or_none() is not None


async def release(connection: AsyncConnection) -> None:
    await connection.execute(_release)
