"""The SQL that finds single events, and places in their order."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.events.models import PlacedEvent

_get_by_seqs = text("""
    SELECT seq, type, schema_version, account_id, occurred_at, data, CAST(0 AS float8) AS age
    FROM events WHERE seq = ANY(CAST(:seqs AS bigint[]))
""")
_find_seq_before = text("SELECT min(seq) - 1 FROM events WHERE occurred_at >= :moment AND seq IS NOT NULL")


async def get_by_seqs(connection: AsyncConnection, *, seqs: Sequence[int]) -> dict[int, PlacedEvent]:
    """By seq, those of the events that are still kept."""
    rows = await connection.execute(_get_by_seqs, {"seqs": list(seqs)})
    return {row.seq: PlacedEvent(*row) for row in rows}


async def find_seq_before(connection: AsyncConnection, *, moment: datetime) -> int | None:
    """The place right before the first event since a moment; None if there is none since."""
    found: int | None = await connection.scalar(_find_seq_before, {"moment": moment})
    return found
