"""The endpoint of the audit trail, for admins."""

from functools import partial
from typing import Annotated, Any, NamedTuple

from fastapi import Depends, Query, Request, Response
from kpi_shared.caller import Subject
from kpi_shared.cursors import InvalidCursorError
from kpi_shared.database import Database, DatabaseOfApp
from kpi_shared.errors import ForbiddenError, UnauthenticatedError
from kpi_shared.http.media_types import Router
from kpi_shared.http.middleware import IS_HEAD
from kpi_shared.http.negotiation import NotAcceptableError, choose_media_type
from kpi_shared.http.openapi import Responses, problems
from kpi_shared.paging import Cursors, cut_page, decode_cursor, encode_cursor
from kpi_shared.security import AdminAccess

from kpi_auth.audit import repository
from kpi_auth.audit.filters import AuditFilter
from kpi_auth.audit.responses import NDJSON, check_reader, stream_lines
from kpi_auth.audit.schemas import AuditEntry, AuditPage, AuditQuery

router = Router(tags=["audit"])

_JSON = "application/json"
_LINES: Responses = {
    200: {
        "description": "A page of records, or with Accept: application/x-ndjson all of them, one AuditEntry per line",
        "content": {NDJSON: {"schema": {"type": "string"}}},
    }
}


class _ListRequest(NamedTuple):
    query: AuditQuery
    audit_filter: AuditFilter
    before: tuple[Any, ...] | None
    media_type: str
    admin: Subject

    @property
    def most(self) -> int | None:
        """The number of records for which an export asks."""
        return self.query.limit if "limit" in self.query.model_fields_set else None


async def _parse_list_request(
    query: Annotated[AuditQuery, Query()], request: Request, cursors: Cursors, admin: AdminAccess
) -> _ListRequest:
    """Every check of the request, so that a refused one takes no connection."""
    audit_filter = query.filter
    before = decode_cursor(query.cursor, of=audit_filter, sealer=cursors) if query.cursor else None
    return _ListRequest(query, audit_filter, before, choose_media_type(request, (_JSON, NDJSON)), admin)


@router.get(
    "/audit",
    response_model=AuditPage,
    responses=_LINES | problems(UnauthenticatedError, ForbiddenError, NotAcceptableError, InvalidCursorError),
)
async def list_audit(
    asked: Annotated[_ListRequest, Depends(_parse_list_request)],
    request: Request,
    cursors: Cursors,
    database: DatabaseOfApp,
    response: Response,
) -> AuditPage | Response:
    """List the records of the audit trail, newest first, or export them as NDJSON; admins only."""
    headers = {"Cache-Control": "no-store", "Vary": "Accept"}
    if asked.media_type == NDJSON:
        most = 0 if request.scope.get(IS_HEAD) else asked.most
        check = partial(check_reader, request, asked.admin)
        lines = await stream_lines(database, asked.audit_filter, before=asked.before, most=most, check_reader=check)
        lines.headers.update(headers)
        return lines
    response.headers.update(headers)
    return await _get_page(database, asked, cursors)


async def _get_page(database: Database, asked: _ListRequest, cursors: Cursors) -> AuditPage:
    audit_filter, limit = asked.audit_filter, asked.query.limit
    async with database.reading() as connection:
        rows = await repository.get_page(connection, audit_filter=audit_filter, before=asked.before, limit=limit + 1)
    page = cut_page(
        rows,
        limit=limit,
        cursor_after=lambda row: encode_cursor(
            [getattr(row, name) for name in audit_filter.position_names], of=audit_filter, sealer=cursors
        ),
    )
    items = [AuditEntry.model_validate(row, from_attributes=True) for row in page.rows]
    return AuditPage(items=items, next=page.next)
