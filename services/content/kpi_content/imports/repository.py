"""The SQL of the ledger of imported posts, and of the statistics that an import updates at its end."""

from collections.abc import Iterable, Mapping

from kpi_shared.database.copying import copy_rows
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_content.imports.schemas import ExternalId

# Any fixed number works: it makes two imports take turns, so that neither misses what the other has not committed.
_ADVISORY_LOCK = 7_352_062

_take_turn = text("SELECT pg_advisory_xact_lock(:lock)")
_find_known = text("""
    SELECT source, external_id FROM post_imports
    JOIN unnest(CAST(:sources AS text[]), CAST(:external_ids AS bigint[])) AS given (source, external_id)
        USING (source, external_id)
""")
_copy = "COPY post_imports (source, external_id, post_id) FROM STDIN"


async def take_turn(connection: AsyncConnection) -> None:
    """Wait until no other import is in a transaction; the turn lasts until the end of this transaction."""
    await connection.execute(_take_turn, {"lock": _ADVISORY_LOCK})


async def find_known(connection: AsyncConnection, *, external_ids: Iterable[ExternalId]) -> set[ExternalId]:
    """The external_ids whose posts have been imported."""
    sources, external_ids = zip(*external_ids, strict=True)
    rows = await connection.execute(_find_known, {"sources": list(sources), "external_ids": list(external_ids)})
    return {ExternalId(row.source, row.external_id) for row in rows}


async def add_all(connection: AsyncConnection, *, external_ids: Mapping[int, ExternalId]) -> None:
    """Record the external_ids, which are keyed by the id that the post has here."""
    await copy_rows(connection, _copy, ((*origin, post_id) for post_id, origin in external_ids.items()))


async def refresh_statistics(connection: AsyncConnection) -> None:
    """Update the planner's statistics, and merge the pending entries of the search index into it.

    The connection must be in AUTOCOMMIT mode, because VACUUM cannot run in a transaction.
    """
    # On a large database it takes longer than a request may, and it may wait for the VACUUM of another import.
    await connection.execute(text("SET statement_timeout = 0"))
    await connection.execute(text("SET lock_timeout = 0"))
    try:
        await connection.execute(text("VACUUM (ANALYZE) posts"))
        await connection.execute(text("ANALYZE authors, votes, post_imports"))
    finally:
        await connection.execute(text("RESET statement_timeout"))
        await connection.execute(text("RESET lock_timeout"))
