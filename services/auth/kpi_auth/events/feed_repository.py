"""The SQL of the feed.

Each statement also says whether the database is read-only: a standby, or a primary of before a failover, does not know
what has happened since.
"""

from datetime import timedelta
from typing import Any, NamedTuple

from kpi_shared.database import DirectConnection
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.events.models import EventType, PlacedEvent
from kpi_auth.events.repository import AGE, COLUMNS, ENDS
from kpi_auth.events.revocations import ACCOUNT_TYPES, PASSING_TYPES

_READ_ONLY = "current_setting('transaction_read_only') = 'on'"
# For the driver itself: several times a second in every process.
_poll = f"""
    SELECT {_READ_ONLY}, (SELECT {AGE} FROM events WHERE seq IS NULL ORDER BY id LIMIT 1), new.*
    FROM (SELECT) AS one LEFT JOIN (
        SELECT {COLUMNS} FROM events WHERE seq > %(after)s ORDER BY seq LIMIT %(most)s
    ) AS new ON true
    ORDER BY new.seq
""".encode()  # noqa: S608 our own text
# One statement: of events that are deleted between two, a reader would not notice that they are missing.
_get_slice = text(f"""
    SELECT {_READ_ONLY}, ends.horizon, ends.last, page.* FROM ({ENDS}) AS ends LEFT JOIN (
        SELECT {COLUMNS} FROM events WHERE seq > :after ORDER BY seq LIMIT :most
    ) AS page ON true
    ORDER BY page.seq
""")  # noqa: S608 as above
_SECONDS = "greatest(round(CAST(extract(epoch FROM :lifetime) AS numeric) - CAST(age AS numeric), 1), 0)"


def _quote(types: tuple[str, ...]) -> str:
    return ", ".join(f"'{event_type}'" for event_type in types)


# The text is made here: a hundred thousand rows would keep the event loop busy for a second. One statement, so that the
# revocations and the place up to which they are complete are of the same moment. A session ends once; of the events of
# an account or an API key, the last counts.
_get_revocations = text(f"""
    WITH recent AS MATERIALIZED (
        SELECT seq, type, data, {_SECONDS} AS seconds FROM (
            SELECT {COLUMNS} FROM events
            WHERE seq IS NOT NULL AND occurred_at > now() - :lifetime AND type IN ({_quote(PASSING_TYPES)})
        ) AS events
    ), sessions AS (
        SELECT data ->> 'session_id' AS id, seconds FROM recent WHERE type = '{EventType.SESSION_ENDED}'
        UNION ALL
        SELECT id, seconds FROM recent, jsonb_array_elements_text(data -> 'session_ids') AS id
        WHERE type = '{EventType.SESSIONS_ENDED}'
        UNION ALL
        SELECT 'key-' || id, seconds FROM (
            SELECT DISTINCT ON (data -> 'api_key_id') data ->> 'api_key_id' AS id, seconds, type FROM recent
            WHERE type IN ('{EventType.API_KEY_ENDED}', '{EventType.API_KEY_ACTIVATED}')
            ORDER BY data -> 'api_key_id', seq DESC
        ) AS api_keys WHERE type = '{EventType.API_KEY_ENDED}'
    ), accounts AS (
        SELECT DISTINCT ON (data -> 'id') data -> 'id' AS id, data -> 'version' AS version, seconds FROM recent
        WHERE type IN ({_quote(ACCOUNT_TYPES)})
        ORDER BY data -> 'id', seq DESC
    ), items (item) AS (
        SELECT json_build_object('kind', 'session', 'id', id, 'seconds', seconds) FROM sessions
        UNION ALL
        SELECT json_build_object('kind', 'account', 'id', id, 'version', version, 'seconds', seconds) FROM accounts
        UNION ALL
        SELECT json_build_object('kind', 'kid', 'id', data ->> 'kid', 'seconds', null) FROM events
        WHERE seq IS NOT NULL AND type = '{EventType.KEY_KILLED}'
    )
    SELECT {_READ_ONLY}, ends.last, (SELECT coalesce(string_agg(CAST(item AS text), ','), '') FROM items)
    FROM ({ENDS}) AS ends
""")  # noqa: S608 as above


class Poll(NamedTuple):
    """New events, and for how many seconds the oldest event without a place has waited; None if there is none."""

    is_read_only: bool
    waiting: float | None
    events: list[PlacedEvent]


class Slice(NamedTuple):
    """Events after a place, and the places between which events are kept: after ``horizon``, and up to ``last``."""

    is_read_only: bool
    horizon: int
    last: int
    events: list[PlacedEvent]


class Snapshot(NamedTuple):
    """All that makes tokens invalid, up to the place ``seq``: the members of a JSON array, as docs/events.md says."""

    is_read_only: bool
    seq: int
    items: str


async def poll(connection: DirectConnection, *, after: int, most: int) -> Poll:
    cursor = await connection.execute(_poll, {"after": after, "most": most}, prepare=True)
    rows: list[Any] = await cursor.fetchall()
    is_read_only, waiting = rows[0][:2]
    return Poll(is_read_only, waiting, [PlacedEvent(*row[2:]) for row in rows if row[2] is not None])


async def get_slice(connection: AsyncConnection, *, after: int, most: int) -> Slice:
    rows = (await connection.execute(_get_slice, {"after": after, "most": most})).all()
    is_read_only, horizon, last = rows[0][:3]
    return Slice(is_read_only, horizon, last, [PlacedEvent(*row[3:]) for row in rows if row[3] is not None])


async def get_revocations(connection: AsyncConnection, *, lifetime: timedelta) -> Snapshot:
    """Of events that are younger than ``lifetime``, and of killed keys at any age."""
    return Snapshot(*(await connection.execute(_get_revocations, {"lifetime": lifetime})).one())
