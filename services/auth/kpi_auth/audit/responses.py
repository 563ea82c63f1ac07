"""The audit trail as NDJSON, one record per line, for an export."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import structlog
from fastapi import Request
from fastapi.responses import StreamingResponse
from kpi_shared.caller import Subject
from kpi_shared.database import AnyRow, Database
from kpi_shared.errors import ForbiddenError
from kpi_shared.security import SessionCheck
from kpi_shared.tokens import InvalidTokenError
from starlette.requests import ClientDisconnect

from kpi_auth.audit import repository
from kpi_auth.audit.filters import AuditFilter
from kpi_auth.audit.schemas import AuditEntry

log = structlog.get_logger(__name__)

# Raises InvalidTokenError or ForbiddenError if the reader may read no further.
ReaderCheck = Callable[[], Awaitable[None]]
NDJSON = "application/x-ndjson"
# All that an export holds in memory, and what takes the event loop a few milliseconds.
_PAGE = 250


async def stream_lines(
    database: Database,
    audit_filter: AuditFilter,
    *,
    before: Sequence[Any] | None,
    most: int | None,
    check_reader: ReaderCheck,
) -> StreamingResponse:
    """All matching records from a position on, newest first, or the first ``most`` of them.

    The first page is read before the response begins, so that an unavailable database is a 503. A page takes a
    connection while it is read, and none while the client receives it. Before each further page is sent, the reader is
    checked again: a slow one may take a minute.
    """
    first = await _read(database, audit_filter, before, most)
    lines = _render(database, audit_filter, first, most, check_reader)
    return StreamingResponse(lines, media_type=NDJSON)


async def check_reader(request: Request, reader: Subject) -> None:
    """Check again whether the session or API key of an export is still an admin's, and its token's key still trusted.

    That the token expires ends no export: those of API keys are valid for no longer than an export may take.
    """
    check: SessionCheck = request.app.state.session_check
    if reader.token_key_id in request.app.state.tokens.ring.killed:
        raise InvalidTokenError
    if not (await check(request, reader)).is_admin:
        raise ForbiddenError("Only an admin may do this")


async def _render(
    database: Database,
    audit_filter: AuditFilter,
    page: Sequence[AnyRow],
    most: int | None,
    check_reader: ReaderCheck,
) -> AsyncIterator[bytes]:
    while page:
        yield b"".join(map(_to_line, page))
        most = None if most is None else most - len(page)
        if most == 0 or len(page) < _PAGE:
            return
        before = [getattr(page[-1], name) for name in audit_filter.position_names]
        page = await _read(database, audit_filter, before, most)
        await _break_off_unless(check_reader)


async def _break_off_unless(check_reader: ReaderCheck) -> None:
    """End the response without its last chunk if the check fails, so that it is not taken for a complete one."""
    try:
        await check_reader()
    except (InvalidTokenError, ForbiddenError) as error:
        log.warning("audit export stopped: its reader is no longer an admin or is signed out")
        raise ClientDisconnect from error


async def _read(
    database: Database, audit_filter: AuditFilter, before: Sequence[Any] | None, most: int | None
) -> Sequence[AnyRow]:
    limit = _PAGE if most is None else min(most, _PAGE)
    async with database.reading() as connection:
        return await repository.get_page(connection, audit_filter=audit_filter, before=before, limit=limit)


def _to_line(row: AnyRow) -> bytes:
    return AuditEntry.model_validate(row, from_attributes=True).model_dump_json().encode() + b"\n"
