"""The SQL of events. Statements are built once; each call only binds its values."""

from datetime import timedelta
from typing import Any

import psycopg
from kpi_shared.database import MAX_ID, AnyRow
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.events.fragments import CHANNEL, NOTIFY
from kpi_auth.events.models import Ends, EventType, PlacedEvent
from kpi_auth.events.payloads import SCHEMAS, Payload

# An arbitrary constant that identifies the lock between replicas.
RELAY_LOCK = 7_352_063
_put = text(f"""
    INSERT INTO events (type, schema_version, account_id, data)
    VALUES (:type, :schema_version, CAST(:account_id AS bigint), :data)
    RETURNING {NOTIFY}
""").bindparams(bindparam("data", type_=JSONB))  # noqa: S608 our own text
# One statement, which the server completes alone: a process that stands still keeps the lock from no other. What
# another process has numbered since the statement began is left as it is. The inner LIMIT keeps its order, in which
# nextval() is then called. Ids are in the order of each account's changes: its row is locked before its event is
# written.
_number = text(f"""
    WITH lock AS MATERIALIZED (
        SELECT pg_try_advisory_xact_lock(:lock) AS is_ours
    ), waiting AS (
        SELECT id FROM events WHERE seq IS NULL AND (SELECT is_ours FROM lock) ORDER BY id LIMIT :most
    ), numbered AS MATERIALIZED (
        SELECT id, nextval('events_seq') AS seq FROM waiting
    ), changed AS (
        UPDATE events SET seq = numbered.seq FROM numbered WHERE events.id = numbered.id AND events.seq IS NULL
        RETURNING {NOTIFY}
    )
    SELECT CASE WHEN is_ours THEN (SELECT count(*) FROM changed) END FROM lock
""")  # noqa: S608 our own text
AGE = "CAST(extract(epoch FROM clock_timestamp() - occurred_at) AS float8)"
COLUMNS = f"seq, type, schema_version, account_id, occurred_at, data, {AGE} AS age"
_get_page = text(f"SELECT {COLUMNS} FROM events WHERE seq > :after ORDER BY seq LIMIT :most")  # noqa: S608 as above
# Not more than the LIMIT are counted: an outlet that is down for weeks must not cost more with each day.
_get_lag = text(f"""
    SELECT count(*), coalesce((SELECT {AGE} FROM events WHERE seq > :after ORDER BY seq LIMIT 1), 0)
    FROM (SELECT FROM events WHERE seq > :after LIMIT 100000) AS waiting
""")  # noqa: S608 as above
# The horizon is never below what has been deleted, even if that was the newest event.
ENDS = "SELECT seq AS horizon, greatest(seq, (SELECT max(seq) FROM events)) AS last FROM event_horizon"
_get_ends = text(ENDS)
_get_status = text(f"""
    SELECT ends.last, ends.horizon AS deleted_to, waiting.count AS waiting, waiting.seconds AS waiting_seconds
    FROM ({ENDS}) AS ends, (
        SELECT count(*) AS count, coalesce(max({AGE}), 0) AS seconds FROM events WHERE seq IS NULL
    ) AS waiting
""")  # noqa: S608 our own text
# From the oldest on, and never beyond one that is needed, so that what is kept has no gap but killed keys.
_forget = text(f"""
    WITH old AS (
        SELECT seq FROM events
        WHERE seq > (SELECT seq FROM event_horizon) AND type <> '{EventType.KEY_KILLED}'
            AND seq < coalesce(CAST(:needed AS bigint), {MAX_ID})
        ORDER BY seq LIMIT :most
    ), due AS (
        SELECT max(seq) AS seq FROM events WHERE seq IN (SELECT seq FROM old) AND occurred_at < now() - :kept
    ), deleted AS (
        DELETE FROM events USING due
        WHERE events.seq <= due.seq AND type <> '{EventType.KEY_KILLED}'
        RETURNING events.seq
    ), moved AS (
        UPDATE event_horizon SET seq = due.seq FROM due WHERE due.seq IS NOT NULL
    )
    SELECT count(*) FROM deleted
""")  # noqa: S608 our own text
_get_killed_keys = text("SELECT data ->> 'kid' FROM events WHERE type = 'key.killed' ORDER BY id")


async def put(
    connection: AsyncConnection, event_type: EventType, payload: Payload, *, account_id: int | None = None
) -> None:
    """Write an event in the transaction of the change, after the rows of the change have been locked."""
    values = {"type": event_type.value, "schema_version": SCHEMAS[event_type].version, "account_id": account_id}
    await connection.execute(_put, {**values, "data": payload.model_dump(mode="json")})


async def number(connection: AsyncConnection, *, most: int) -> int | None:
    """Give committed events their places; returns how many, or None if another process is doing so."""
    count: int | None = await connection.scalar(_number, {"lock": RELAY_LOCK, "most": most})
    return count


async def get_page(connection: AsyncConnection, *, after: int, most: int) -> list[PlacedEvent]:
    return [PlacedEvent(*row) for row in await connection.execute(_get_page, {"after": after, "most": most})]


async def get_lag(connection: AsyncConnection, *, after: int) -> tuple[int, float]:
    """How many events come after that place, 100,000 at most, and the age of the first in seconds."""
    count, age = (await connection.execute(_get_lag, {"after": after})).one()
    return count, age


async def get_killed_keys(connection: AsyncConnection) -> list[str]:
    """The ids of all keys of the tokens that were ever killed, those without a place yet among them."""
    return [row[0] for row in await connection.execute(_get_killed_keys)]


async def get_ends(connection: AsyncConnection) -> Ends:
    return Ends(*(await connection.execute(_get_ends)).one())


async def get_status(connection: AsyncConnection) -> AnyRow:
    return (await connection.execute(_get_status)).one()


async def forget_old(connection: AsyncConnection, *, kept: timedelta, needed: int | None, most: int) -> int:
    """Delete the oldest events, at most ``most``, if they are older than ``kept``; returns how many.

    ``needed`` is the first that must stay whatever its age. Killed keys and events without a place stay for ever.
    """
    values = {"kept": kept, "needed": needed, "most": most}
    return int((await connection.execute(_forget, values)).scalar_one())


async def listen(connection: psycopg.AsyncConnection[Any]) -> None:
    """Receive a notification when events are committed, or have got their places."""
    await connection.execute(f"LISTEN {CHANNEL}".encode())
