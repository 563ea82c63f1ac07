"""Notifications between processes: the SQL that sends and receives them. Nothing of it is stored."""

from collections.abc import Sequence
from typing import Any

import psycopg
from kpi_shared.database import DirectConnection
from sqlalchemy import text

from kpi_content.conversations.stream_repository import MAY_WRITE
from kpi_content.conversations.writing_repository import CHANNEL
from kpi_content.statements import Statement

DRAFTS = "kpi_drafts"
_SEND = f"SELECT pg_notify('{DRAFTS}', payload) FROM unnest(CAST(:payloads AS text[])) AS payload"  # noqa: S608 our own text
_send: Statement[None] = Statement(text(_SEND), lambda _values: None)
_send_of_writer: Statement[None] = Statement(text(f"{_SEND} WHERE {MAY_WRITE}"), lambda _values: None)


async def listen(connection: psycopg.AsyncConnection[Any]) -> None:
    """Receive a notification when something happens in a conversation, and for each part of a draft."""
    await connection.execute(f"LISTEN {CHANNEL}".encode())
    await connection.execute(f"LISTEN {DRAFTS}".encode())


async def send(connection: DirectConnection, *, payloads: Sequence[str]) -> None:
    """Each payload must be shorter than 8,000 bytes."""
    await _send.all(connection, {"payloads": list(payloads)})


async def send_of_writer(
    connection: DirectConnection, *, payloads: Sequence[str], conversation_id: int, user_id: int
) -> bool:
    """As ``send``, if the account may write in the conversation; returns whether it may."""
    values = {"payloads": list(payloads), "conversation_id": conversation_id, "user_id": user_id}
    return bool(await _send_of_writer.all(connection, values))
