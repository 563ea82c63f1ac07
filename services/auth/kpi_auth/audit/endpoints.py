"""The endpoint of the audit trail, for admins."""

from typing import Annotated

from fastapi import Query, Response
from kpi_shared.cursors import InvalidCursorError
from kpi_shared.database import Reader
from kpi_shared.errors import ForbiddenError, UnauthenticatedError
from kpi_shared.http.media_types import Router
from kpi_shared.http.openapi import problems
from kpi_shared.paging import Cursors, cut_page, decode_cursor, encode_cursor
from kpi_shared.security import AdminAccess

from kpi_auth.audit import repository
from kpi_auth.audit.schemas import AuditEntry, AuditPage, AuditQuery

router = Router(tags=["audit"])


@router.get("/audit", responses=problems(UnauthenticatedError, ForbiddenError, InvalidCursorError))
async def list_audit(
    query: Annotated[AuditQuery, Query()], _admin: AdminAccess, cursors: Cursors, connection: Reader, response: Response
) -> AuditPage:
    """List the records of the audit trail, newest first; admins only."""
    response.headers["Cache-Control"] = "no-store"
    audit_filter = query.filter
    [before] = decode_cursor(query.cursor, of=audit_filter, sealer=cursors) if query.cursor else [None]
    rows = await repository.get_page(connection, audit_filter=audit_filter, before=before, limit=query.limit + 1)
    page = cut_page(
        rows,
        limit=query.limit,
        cursor_after=lambda row: encode_cursor((row.id,), of=audit_filter, sealer=cursors),
    )
    items = [AuditEntry.model_validate(row, from_attributes=True) for row in page.rows]
    return AuditPage(items=items, next=page.next)
