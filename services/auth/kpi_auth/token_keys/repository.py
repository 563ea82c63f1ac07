"""The SQL of the processes that hold keys of the tokens."""

from datetime import timedelta
from typing import Any, NamedTuple

from kpi_shared.token_keys.reports import REPORT_SECONDS, Holding
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

# A process that has been silent for so long has ended.
_SILENCE = timedelta(seconds=3 * REPORT_SECONDS)
_KEPT = timedelta(hours=1)

_put = text("""
    INSERT INTO token_key_holders (instance, part, purpose, keys, token_seconds)
    VALUES (:instance, :part, :purpose, :keys, :token_seconds)
    ON CONFLICT (instance) DO UPDATE SET
        purpose = excluded.purpose, keys = excluded.keys, reported_at = now(),
        token_seconds = excluded.token_seconds
        WHERE token_key_holders.part = excluded.part
""").bindparams(bindparam("keys", type_=JSONB))
_count_others = text("""
    SELECT count(*) FILTER (WHERE part = :part AND instance <> :instance),
        count(DISTINCT part) FILTER (WHERE part NOT IN ('auth', 'gateway', :part))
    FROM token_key_holders WHERE reported_at > now() - :silence
""")
_get_all = text("""
    SELECT part, instance, purpose, keys FROM token_key_holders
    WHERE reported_at > now() - :silence ORDER BY part, instance
""")
# Also of processes that have ended: their tokens are valid still.
_get_longest_life = text("SELECT max(token_seconds) FROM token_key_holders")
_forget_old = text("""
    DELETE FROM token_key_holders WHERE instance IN (
        SELECT instance FROM token_key_holders WHERE reported_at < now() - :kept LIMIT :most
    )
""")


class Others(NamedTuple):
    """How many other processes the part has, and how many other services follow auth."""

    instances: int
    followers: int


async def put(connection: AsyncConnection, holding: Holding, *, token_seconds: int | None) -> bool:
    """Store the report; False if an instance of another part has the name."""
    values = {**holding._asdict(), "purpose": holding.purpose.value, "token_seconds": token_seconds}
    return (await connection.execute(_put, values)).rowcount > 0


async def get_longest_life(connection: AsyncConnection) -> int | None:
    """How long a token may live, in seconds; None if no process that mints has reported."""
    found: int | None = (await connection.execute(_get_longest_life)).scalar_one()
    return found


async def count_others(connection: AsyncConnection, holding: Holding) -> Others:
    """Those that still report."""
    names = {"part": holding.part, "instance": holding.instance, "silence": _SILENCE}
    return Others(*(await connection.execute(_count_others, names)).one())


async def get_all(connection: AsyncConnection) -> list[dict[str, Any]]:
    """The processes that still report, with their keys."""
    rows = await connection.execute(_get_all, {"silence": _SILENCE})
    return [dict(row) for row in rows.mappings()]


async def forget_old(connection: AsyncConnection, *, most: int) -> int:
    """Delete processes that ended long ago; returns how many there were."""
    return (await connection.execute(_forget_old, {"kept": _KEPT, "most": most})).rowcount
