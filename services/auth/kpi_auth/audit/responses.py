"""The audit trail as NDJSON, one record per line, for an export."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi.responses import StreamingResponse
from kpi_shared.database import AnyRow, Database

from kpi_auth.audit import repository
from kpi_auth.audit.filters import AuditFilter
from kpi_auth.audit.schemas import AuditEntry

NDJSON = "application/x-ndjson"
# All that an export holds in memory, and what takes the event loop a few milliseconds.
_PAGE = 250


async def stream_lines(
    database: Database, audit_filter: AuditFilter, *, before: Sequence[Any] | None, most: int | None
) -> StreamingResponse:
    """All matching records from a position on, newest first, or the first ``most`` of them.

    The first page is read before the response begins, so that an unavailable database is a 503. A page takes a
    connection while it is read, and none while the client receives it.
    """
    first = await _read(database, audit_filter, before, most)
    lines = _render(database, audit_filter, first, most)
    return StreamingResponse(lines, media_type=NDJSON)


async def _render(
    database: Database, audit_filter: AuditFilter, page: Sequence[AnyRow], most: int | None
) -> AsyncIterator[bytes]:
    while page:
        yield b"".join(map(_to_line, page))
        most = None if most is None else most - len(page)
        if most == 0 or len(page) < _PAGE:
            return
        before = [getattr(page[-1], name) for name in audit_filter.position_names]
        page = await _read(database, audit_filter, before, most)


async def _read(
    database: Database, audit_filter: AuditFilter, before: Sequence[Any] | None, most: int | None
) -> Sequence[AnyRow]:
    limit = _PAGE if most is None else min(most, _PAGE)
    async with database.reading() as connection:
        return await repository.get_page(connection, audit_filter=audit_filter, before=before, limit=limit)


def _to_line(row: AnyRow) -> bytes:
    return AuditEntry.model_validate(row, from_attributes=True).model_dump_json().encode() + b"\n"
