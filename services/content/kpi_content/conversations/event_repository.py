"""The SQL of the events of conversations. The events of messages are parts of the statements that write these."""

import json
from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_content.conversations.writing_repository import CHANNEL

_record = text(f"""
    WITH moved AS (
        UPDATE conversations SET last_event = last_event + 1 WHERE id = :conversation RETURNING id, last_event
    ), written AS (
        INSERT INTO conversation_events (conversation_id, seq, type, data, occurred_at)
        SELECT id, last_event, :kind, CAST(:data AS jsonb), clock_timestamp() FROM moved
    )
    SELECT pg_notify('{CHANNEL}', id || ' ' || last_event) FROM moved
""")  # noqa: S608 our own text
_count_deleted = text("""
    SELECT count(*) FROM conversation_events
    WHERE conversation_id = :conversation AND seq > :after AND type = 'message.deleted'
        AND CAST(data ->> 'number' AS bigint) > :number
""")
# No event has this place.
_announce_end = text(f"SELECT pg_notify('{CHANNEL}', CAST(:conversation AS bigint) || ' 0')")
_forget = """
    DELETE FROM conversation_events WHERE (conversation_id, seq) IN (
        SELECT conversation_id, seq FROM conversation_events {which} LIMIT :most
        FOR UPDATE OF conversation_events SKIP LOCKED
    )
"""
# What is kept follows without a gap where the deletion stops.
_forget_old = text(_forget.format(which="WHERE occurred_at < now() - :kept ORDER BY occurred_at, seq"))
_forget_deleted = text(
    _forget.format(which="JOIN conversations ON conversations.id = conversation_id WHERE deleted_at IS NOT NULL")
)


async def record(connection: AsyncConnection, *, conversation_id: int, kind: str, **data: object) -> None:
    """Write the next event of a conversation, and wake its streams when the transaction commits.

    The conversation must be locked: what the event tells of happens in the order of the events.
    """
    values: Mapping[str, object] = {"conversation": conversation_id, "kind": kind, "data": json.dumps(data)}
    await connection.execute(_record, values)


async def count_deleted(connection: AsyncConnection, *, conversation_id: int, after: int, number: int) -> int:
    """How many messages with numbers above ``number`` have been deleted since the event ``after``, a moment ago."""
    values = {"conversation": conversation_id, "after": after, "number": number}
    return int((await connection.execute(_count_deleted, values)).scalar_one())


async def announce_end(connection: AsyncConnection, *, conversation_id: int) -> None:
    """Wake the streams of a conversation that is deleted, which has no events any more."""
    await connection.execute(_announce_end, {"conversation": conversation_id})


async def forget_old(connection: AsyncConnection, *, kept: timedelta, most: int) -> int:
    """Delete events that are older than ``kept``, and return how many there were."""
    return (await connection.execute(_forget_old, {"kept": kept, "most": most})).rowcount


async def forget_deleted(connection: AsyncConnection, *, most: int) -> int:
    """Delete events of deleted conversations, and return how many there were."""
    return (await connection.execute(_forget_deleted, {"most": most})).rowcount
