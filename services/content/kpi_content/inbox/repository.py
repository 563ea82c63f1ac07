"""The SQL of the inbox."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_content.inbox.models import AUTH

_find = text(f"SELECT seq FROM inbox WHERE source = '{AUTH}'")  # noqa: S608 our own text
_advance = text(f"UPDATE inbox SET seq = :seq WHERE source = '{AUTH}' AND seq < :seq")  # noqa: S608 as above
_forget = text(f"UPDATE inbox SET seq = NULL WHERE source = '{AUTH}' AND seq = :seq")  # noqa: S608 as above
# Longer than a page takes to come and to be written: then the process that read it has ended.
_TURN = "clock_timestamp() + interval '30 s'"
_begin = text(f"""
    INSERT INTO inbox (source, rebuild, held_until) VALUES ('{AUTH}', 1, {_TURN})
    ON CONFLICT (source) DO UPDATE SET seq = NULL, rebuild = inbox.rebuild + 1, held_until = excluded.held_until
    WHERE :is_ordered OR (inbox.seq IS NULL AND coalesce(inbox.held_until < clock_timestamp(), true))
    RETURNING rebuild
""")  # noqa: S608 as above
_IS_OURS = f"source = '{AUTH}' AND rebuild = :rebuild AND seq IS NULL"
_hold = text(f"UPDATE inbox SET held_until = {_TURN} WHERE {_IS_OURS} RETURNING rebuild")  # noqa: S608 as above
_release = text(f"UPDATE inbox SET held_until = NULL WHERE {_IS_OURS}")  # noqa: S608 as above
_end = text(f"UPDATE inbox SET seq = :seq, held_until = NULL WHERE {_IS_OURS} RETURNING rebuild")  # noqa: S608 as above


async def find_cursor(connection: AsyncConnection) -> int | None:
    seq: int | None = await connection.scalar(_find)
    return seq


async def advance(connection: AsyncConnection, *, seq: int) -> None:
    """The events up to ``seq`` have been read. Changes nothing if another process is further, or has begun anew."""
    await connection.execute(_advance, {"seq": seq})


async def forget(connection: AsyncConnection, *, seq: int) -> None:
    """Begin anew, unless another process has done so since ``seq`` was read."""
    await connection.execute(_forget, {"seq": seq})


async def begin_rebuild(connection: AsyncConnection, *, is_ordered: bool) -> int | None:
    """Drop the cursor, and return the number of the new rebuild. One that is ordered takes the turn of any other.

    None if the accounts are read already, or another rebuild is under way.
    """
    number: int | None = await connection.scalar(_begin, {"is_ordered": is_ordered})
    return number


async def hold_rebuild(connection: AsyncConnection, number: int) -> bool:
    """Keep the turn, and lock it until the end of the transaction; False if another rebuild has it."""
    return await connection.scalar(_hold, {"rebuild": number}) is not None


async def release_rebuild(connection: AsyncConnection, number: int) -> None:
    """It failed: the next one need not wait."""
    await connection.execute(_release, {"rebuild": number})


async def end_rebuild(connection: AsyncConnection, number: int, *, seq: int) -> bool:
    """All accounts have been read, in their state of ``seq`` or a later one; False if another rebuild has the turn."""
    return await connection.scalar(_end, {"rebuild": number, "seq": seq}) is not None
