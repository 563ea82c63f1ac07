"""Notifications between processes: the SQL that sends and receives them. Nothing of it is stored."""

from collections.abc import Sequence
from typing import Any

import psycopg
from kpi_shared.database import DirectConnection
from sqlalchemy import text

from kpi_content.conversations.stream_repository import MAY_WRITE
from kpi_content.conversations.writing_repository import CHANNEL
from kpi_content.statements import Statement

DRAFTS, KEYS = "kpi_drafts", "kpi_upload_keys"
_FROM_PAYLOADS = "FROM unnest(CAST(:payloads AS text[])) AS payload"
_SEND = f"SELECT pg_notify('{DRAFTS}', payload) {_FROM_PAYLOADS}"
_send: Statement[None] = Statement(text(_SEND), lambda _values: None)
_send_of_writer: Statement[None] = Statement(text(f"{_SEND} WHERE {MAY_WRITE}"), lambda _values: None)
_SEND_KEYS = f"SELECT pg_notify('{KEYS}', payload) {_FROM_PAYLOADS}"
_send_keys: Statement[None] = Statement(text(_SEND_KEYS), lambda _values: None)


async def listen(connection: psycopg.AsyncConnection[Any]) -> None:
    """Hear what happens in conversations, each part of a draft, and which keys uploads have."""
    for channel in (CHANNEL, DRAFTS, KEYS):
        await connection.execute(f"LISTEN {channel}".encode())


async def send(connection: DirectConnection, *, payloads: Sequence[str]) -> None:
    """Each payload must be shorter than 8,000 bytes."""
    await _send.all(connection, {"payloads": list(payloads)})


async def send_of_writer(
    connection: DirectConnection, *, payloads: Sequence[str], conversation_id: int, user_id: int
) -> bool:
    """As ``send``, if the account may write in the conversation; returns whether it may."""
    values = {"payloads": list(payloads), "conversation_id": conversation_id, "user_id": user_id}
    return bool(await _send_of_writer.all(connection, values))


async def send_keys(connection: DirectConnection, *, payloads: Sequence[str]) -> None:
    await _send_keys.all(connection, {"payloads": list(payloads)})
