"""The SQL of sessions. Statements are built once; each call only binds its values."""

from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.sessions.models import EndReason

_end = text("""
    UPDATE sessions SET ended_at = now(), end_reason = :reason
    WHERE id = :id AND user_id = :user_id AND ended_at IS NULL
    RETURNING id
""")
_end_all = text("""
    UPDATE sessions SET ended_at = now(), end_reason = :reason
    WHERE user_id = :user_id AND ended_at IS NULL AND id IS DISTINCT FROM CAST(:spared AS bigint)
    RETURNING id
""")


class Limits(NamedTuple):
    """How long a session lives unused, and in all."""

    idle: timedelta
    absolute: timedelta


async def end(connection: AsyncConnection, *, user_id: int, session_id: int, reason: EndReason) -> bool:
    """End one session of the user; False where it is not theirs or has ended already."""
    values = {"id": session_id, "user_id": user_id, "reason": reason.value}
    return (await connection.execute(_end, values)).one_or_none() is not None


async def end_all(
    connection: AsyncConnection, *, user_id: int, reason: EndReason, spared: int | None = None
) -> list[int]:
    """End the user's sessions, all but ``spared``, and return the ids of those that ended."""
    values = {"user_id": user_id, "reason": reason.value, "spared": spared}
    return list((await connection.execute(_end_all, values)).scalars())
