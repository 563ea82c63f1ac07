"""The SQL of attempts: each row is one key's sliding window, and one statement counts and adds under its lock.

Statements always lock their keys in the order given, so that they cannot deadlock.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.attempts.models import Added, Limit

# There is room again when the oldest of the newest :most has left the window.
_wait = text("""
    SELECT extract(epoch FROM min(moment) + :window - now()) FROM (
        SELECT moment FROM attempts, unnest(times) AS moment WHERE key = :key ORDER BY moment DESC LIMIT :most
    ) AS newest
""")
_ADD = """
    INSERT INTO attempts AS known (key, times, forget_at)
    SELECT :key{n}, ARRAY[now()], now() + :window{n} {condition}
    ON CONFLICT (key) DO UPDATE SET
        times = ARRAY(SELECT moment FROM unnest(known.times) AS moment WHERE moment > now() - :window{n}) || now(),
        forget_at = now() + :window{n}
    WHERE (SELECT count(*) FROM unnest(known.times) AS moment WHERE moment > now() - :window{n}) < :most{n}
    RETURNING now() AS moment
"""
# One entry only: two attempts may have the same microsecond.
_REMOVE = """
    UPDATE attempts
    SET times = times[: (array_position(times, :moment) - 1)] || times[(array_position(times, :moment) + 1) :]
    WHERE key = :key{n} AND array_position(times, :moment) IS NOT NULL {condition}
    RETURNING key
"""
# Written again only after a tenth of the time, so that most sign-ins change no row here.
_REMEMBER = """
    INSERT INTO attempts AS known (key, times, forget_at)
    SELECT key, ARRAY[now()], now() + :kept FROM unnest(CAST(:familiar AS bytea[])) AS key {condition} ORDER BY key
    ON CONFLICT (key) DO UPDATE SET forget_at = now() + :kept WHERE known.forget_at < now() + :kept * 0.9
"""
# For a SELECT: does one of the keys say that the owner has signed in from here?
IS_FAMILIAR = """
    EXISTS (SELECT FROM attempts WHERE key = ANY(CAST(:familiar AS bytea[])) AND forget_at > now()) AS is_familiar
"""
_remember = text(_REMEMBER.format(condition=""))
_clear = text("DELETE FROM attempts WHERE key = :key")
_forget_old = text("""
    DELETE FROM attempts WHERE key IN (
        SELECT key FROM attempts WHERE forget_at < now() LIMIT :most FOR UPDATE SKIP LOCKED
    )
""")
# Returns a row for the first report within a window only.
_mark_reported = text("""
    UPDATE attempts SET told_at = now()
    WHERE key = :key AND (told_at IS NULL OR told_at <= now() - :window)
    RETURNING key
""")


async def add(connection: AsyncConnection, limits: Sequence[Limit]) -> Added:
    """Count an attempt under each limit (``key``, ``most``, ``window``) until one of them has no room left."""
    row = (await connection.execute(_add(len(limits)), values_to_add(limits))).one()
    return Added(row.keys, row.moment)


def values_to_add(limits: Sequence[Limit]) -> dict[str, Any]:
    """The bind values for ``steps_to_add``."""
    return {f"{name}{n}": getattr(limit, name) for n, limit in enumerate(limits) for name in ("key", "most", "window")}


async def seconds_to_wait(connection: AsyncConnection, limit: Limit) -> float:
    values = {"key": limit.key, "most": limit.most, "window": limit.window}
    return float(await connection.scalar(_wait, values) or 0)


async def mark_reported(connection: AsyncConnection, limit: Limit) -> bool:
    """Note that the limit was reached; False if that was already noted within the window."""
    return (
        await connection.execute(_mark_reported, {"key": limit.key, "window": limit.window})
    ).one_or_none() is not None


async def clear(connection: AsyncConnection, *, keys: Sequence[bytes]) -> None:
    """Delete all attempts under the keys, in the given order, in which all statements lock them."""
    for key in keys:
        await connection.execute(_clear, {"key": key})


async def remember(connection: AsyncConnection, *, familiar: Sequence[bytes], kept: timedelta) -> None:
    """Note that these logins' owner has proved who they are at this address."""
    await connection.execute(_remember, values_to_remember(familiar, kept))


async def remove(connection: AsyncConnection, *, keys: Sequence[bytes], moment: datetime) -> None:
    await connection.execute(_remove(len(keys)), values_to_remove(keys, moment))


async def forget_old(connection: AsyncConnection, *, most: int) -> int:
    """Delete rows whose window has passed; returns how many."""
    return (await connection.execute(_forget_old, {"most": most})).rowcount


def values_to_remove(keys: Sequence[bytes], moment: datetime) -> dict[str, Any]:
    """The bind values for ``steps_to_remove``."""
    return {**{f"key{n}": key for n, key in enumerate(keys)}, "moment": moment}


def steps_to_add(keys: int) -> tuple[str, str]:
    """The steps of a WITH clause that count an attempt, and the result columns ``keys`` and ``moment``.

    For statements that do something else in the same round trip.
    """
    counts = " + ".join(f"(SELECT count(*) FROM step{n})" for n in range(keys))  # noqa: S608 numbers
    # A step whose condition fails selects no row, and so adds nothing.
    return _steps(_ADD, keys, "WHERE EXISTS (SELECT FROM step{before})"), f"{counts} AS keys, now() AS moment"


def values_to_remember(familiar: Sequence[bytes], kept: timedelta) -> dict[str, Any]:
    """The bind values for ``steps_to_forgive``, beside those to remove an attempt."""
    return {"familiar": array_of(familiar), "kept": kept}


def array_of(keys: Sequence[bytes]) -> str:
    """An array of bytea as PostgreSQL reads it: the driver takes ten times as long to write a list."""
    return "{" + ",".join(f'"\\\\x{key.hex()}"' for key in keys) + "}"


def steps_to_remove(keys: int) -> str:
    """The steps of a WITH clause that take an attempt back."""
    return _steps(_REMOVE, keys, "AND (SELECT count(*) FROM step{before}) >= 0")


def steps_to_forgive(keys: int) -> str:
    """The steps of a WITH clause that take a sign-in's attempt back and remember where it came from."""
    remember = _REMEMBER.format(condition=f"WHERE (SELECT count(*) FROM step{keys - 1}) >= 0")  # noqa: S608 a number
    return f"{steps_to_remove(keys)}, remembered AS ({remember})"


@cache
def _add(keys: int) -> TextClause:
    steps, columns = steps_to_add(keys)
    return text(f"WITH {steps} SELECT {columns}")


@cache
def _remove(keys: int) -> TextClause:
    return text(f"WITH {steps_to_remove(keys)} SELECT count(*) FROM step{keys - 1}")  # noqa: S608 numbers


def _steps(statement: str, keys: int, condition: str) -> str:
    """One step for each key. Each refers to the one before, which fixes their order."""
    found = []
    for n in range(keys):
        chained = condition.format(before=n - 1) if n else ""
        found.append(f"step{n} AS ({statement.format(n=n, condition=chained)})")
    return ", ".join(found)
