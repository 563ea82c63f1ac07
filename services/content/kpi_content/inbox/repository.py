"""The SQL of the inbox."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_content.inbox.models import AUTH

_find = text(f"SELECT seq FROM inbox WHERE source = '{AUTH}'")  # noqa: S608 our own text
_begin = text(f"""
    INSERT INTO inbox (source, seq) VALUES ('{AUTH}', :seq)
    ON CONFLICT (source) DO UPDATE SET seq = greatest(inbox.seq, excluded.seq)
""")  # noqa: S608 as above
_advance = text(f"UPDATE inbox SET seq = :seq WHERE source = '{AUTH}' AND seq < :seq")  # noqa: S608 as above
_forget = text(f"DELETE FROM inbox WHERE source = '{AUTH}' AND seq = :seq")  # noqa: S608 as above


async def find_cursor(connection: AsyncConnection) -> int | None:
    seq: int | None = await connection.scalar(_find)
    return seq


async def begin(connection: AsyncConnection, *, seq: int) -> None:
    """All accounts have been read, in their state of ``seq`` or a later one."""
    await connection.execute(_begin, {"seq": seq})


async def advance(connection: AsyncConnection, *, seq: int) -> None:
    """The events up to ``seq`` have been read. Changes nothing if another process is further, or has begun anew."""
    await connection.execute(_advance, {"seq": seq})


async def forget(connection: AsyncConnection, *, seq: int) -> None:
    """Begin anew, unless another process has done so since ``seq`` was read."""
    await connection.execute(_forget, {"seq": seq})
