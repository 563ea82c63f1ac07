"""The SQL of the table of keys, which each service has one of."""

from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

KEPT = timedelta(hours=24)

_find = text("SELECT sealed_response FROM idempotency_keys WHERE key_hash = :key_hash AND created_at > now() - :kept")
# The lock lasts until the end of the transaction, so that it also works through a pooler.
_try_lock = text("SELECT pg_try_advisory_xact_lock(:number)")
# A row from before may still be there.
_store = text("""
    INSERT INTO idempotency_keys AS stored (key_hash, sealed_response) VALUES (:key_hash, :sealed)
    ON CONFLICT (key_hash) DO UPDATE SET sealed_response = EXCLUDED.sealed_response, created_at = now()
    WHERE stored.created_at <= now() - :kept
    RETURNING true
""")
_forget_old = text("""
    DELETE FROM idempotency_keys WHERE key_hash IN (
        SELECT key_hash FROM idempotency_keys WHERE created_at < now() - :kept
        LIMIT :most FOR UPDATE SKIP LOCKED
    )
""")


async def try_lock(connection: AsyncConnection, *, key_hash: bytes) -> bool:
    """Whether this transaction has the lock of the key until it ends."""
    number = int.from_bytes(key_hash[:8], "big", signed=True)
    return bool(await connection.scalar(_try_lock, {"number": number}))


async def find(connection: AsyncConnection, *, key_hash: bytes) -> str | None:
    """The stored response. Only a statement after that of the lock sees what the last holder of the lock committed."""
    sealed: str | None = await connection.scalar(_find, {"key_hash": key_hash, "kept": KEPT})
    return sealed


async def store(connection: AsyncConnection, *, key_hash: bytes, sealed: str) -> bool:
    """False if the key has a response."""
    values = {"key_hash": key_hash, "sealed": sealed, "kept": KEPT}
    return bool(await connection.scalar(_store, values))


async def forget_old(connection: AsyncConnection, *, most: int) -> int:
    return (await connection.execute(_forget_old, {"kept": KEPT, "most": most})).rowcount
