"""The SQL of the table of keys, which each service has one of."""

from datetime import timedelta

from sqlalchemy import BigInteger, bindparam, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

KEPT = timedelta(hours=24)

# Until the end of the transaction, so that it also works through a pooler. The numbers of other locks are far apart.
_try_lock = select(func.pg_try_advisory_xact_lock(bindparam("number", type_=BigInteger)))
_find = text("SELECT sealed_response FROM idempotency_keys WHERE key_hash = :key_hash AND created_at > now() - :kept")
# An old row may still be there.
_store = text("""
    INSERT INTO idempotency_keys (key_hash, sealed_response) VALUES (:key_hash, :sealed)
    ON CONFLICT (key_hash) DO UPDATE SET sealed_response = EXCLUDED.sealed_response, created_at = now()
""")
_forget_old = text("""
    DELETE FROM idempotency_keys WHERE key_hash IN (
        SELECT key_hash FROM idempotency_keys WHERE created_at < now() - :kept
        LIMIT :most FOR UPDATE SKIP LOCKED
    )
""")


async def try_lock(connection: AsyncConnection, *, key_hash: bytes) -> bool:
    """Whether no other transaction has the lock of this key; this one then has it until it ends."""
    number = int.from_bytes(key_hash[:8], "big", signed=True)
    return bool(await connection.scalar(_try_lock, {"number": number}))


async def find(connection: AsyncConnection, *, key_hash: bytes) -> str | None:
    sealed: str | None = await connection.scalar(_find, {"key_hash": key_hash, "kept": KEPT})
    return sealed


async def store(connection: AsyncConnection, *, key_hash: bytes, sealed: str) -> None:
    await connection.execute(_store, {"key_hash": key_hash, "sealed": sealed})


async def forget_old(connection: AsyncConnection, *, most: int) -> int:
    return (await connection.execute(_forget_old, {"kept": KEPT, "most": most})).rowcount
