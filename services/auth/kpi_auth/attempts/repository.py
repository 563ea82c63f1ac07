"""The SQL of attempts: each row is one key's sliding window, and one statement counts and adds under its lock."""

from datetime import datetime, timedelta

from kpi_shared.database import Database
from sqlalchemy import text

_add = text("""
    INSERT INTO attempts AS known (key, times, forget_at) VALUES (:key, ARRAY[now()], now() + :window)
    ON CONFLICT (key) DO UPDATE SET
        times = ARRAY(SELECT moment FROM unnest(known.times) AS moment WHERE moment > now() - :window) || now(),
        forget_at = now() + :window
    WHERE (SELECT count(*) FROM unnest(known.times) AS moment WHERE moment > now() - :window) < :most
    RETURNING now()
""")
# There is room again when the oldest of the newest :most has left the window.
_wait = text("""
    SELECT extract(epoch FROM min(moment) + :window - now()) FROM (
        SELECT moment FROM attempts, unnest(times) AS moment WHERE key = :key ORDER BY moment DESC LIMIT :most
    ) AS newest
""")
# One entry only: two attempts may share a microsecond.
_remove = text("""
    UPDATE attempts
    SET times = times[: (array_position(times, :moment) - 1)] || times[(array_position(times, :moment) + 1) :]
    WHERE key = :key AND array_position(times, :moment) IS NOT NULL
""")


async def add(database: Database, *, key: bytes, most: int, window: timedelta) -> datetime | None:
    """Add an attempt and return its time; None where the window has ``most`` of them already."""
    async with database.reading() as connection:
        moment: datetime | None = await connection.scalar(_add, {"key": key, "most": most, "window": window})
        return moment


async def seconds_to_wait(database: Database, *, key: bytes, most: int, window: timedelta) -> float:
    async with database.reading() as connection:
        seconds = await connection.scalar(_wait, {"key": key, "most": most, "window": window})
        return float(seconds or 0)


async def remove(database: Database, *, key: bytes, moment: datetime) -> None:
    async with database.reading() as connection:
        await connection.execute(_remove, {"key": key, "moment": moment})
