"""Notifications between processes: the SQL that sends and receives them. Nothing of it is stored."""

from collections.abc import Sequence
from typing import Any

import psycopg
from kpi_shared.database import DirectConnection
from kpi_shared.database.statements import Statement
from sqlalchemy import text

from kpi_content.conversations.stream_repository import may_write
from kpi_content.conversations.writing_repository import CHANNEL

DRAFTS, KEYS = "kpi_drafts", "kpi_upload_keys"
_send: Statement[None] = Statement(text(f"SELECT pg_notify('{DRAFTS}', :payload)"), lambda _values: None)
# In their order: the outer list is computed after the inner one is sorted.
_send_of_writers: Statement[int] = Statement(
    text(f"""
        SELECT place, pg_notify('{DRAFTS}', payload)
        FROM (
            SELECT place, payload
            FROM unnest(CAST(:conversations AS bigint[]), CAST(:users AS bigint[]), CAST(:payloads AS text[]))
                WITH ORDINALITY AS part (conversation_id, user_id, payload, place)
            WHERE {may_write("part.conversation_id", "part.user_id")}
            ORDER BY place
        ) AS part
    """),  # noqa: S608 our own text
    lambda values: int(values[0]) - 1,
)
_SEND_KEYS = f"SELECT pg_notify('{KEYS}', payload) FROM unnest(CAST(:payloads AS text[])) AS payload"  # noqa: S608 as above
_send_keys: Statement[None] = Statement(text(_SEND_KEYS), lambda _values: None)


async def listen(connection: psycopg.AsyncConnection[Any]) -> None:
    """Hear what happens in conversations, each part of a draft, and which keys uploads have."""
    for channel in (CHANNEL, DRAFTS, KEYS):
        await connection.execute(f"LISTEN {channel}".encode())


async def send(connection: DirectConnection, *, payload: str) -> None:
    """The payload must be shorter than 8,000 bytes."""
    await _send.all(connection, {"payload": payload})


async def send_of_writers(connection: DirectConnection, *, parts: Sequence[tuple[int, int, str]]) -> list[int]:
    """As ``send``, for those parts whose accounts may write in their conversations; returns the places of these.

    Each part is the id of a conversation, that of an account, and the payload.
    """
    conversations, users, payloads = map(list, zip(*parts, strict=True))
    values = {"conversations": conversations, "users": users, "payloads": payloads}
    return await _send_of_writers.all(connection, values)


async def send_keys(connection: DirectConnection, *, payloads: Sequence[str]) -> None:
    await _send_keys.all(connection, {"payloads": list(payloads)})
