"""Reading the records."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from kpi_shared.cursors import InvalidCursorError
from kpi_shared.database import Reader
from kpi_shared.errors import ForbiddenError, UnauthenticatedError
from kpi_shared.http.openapi import problems
from kpi_shared.security import AdminUser

from kpi_auth.audit import service
from kpi_auth.audit.schemas import AuditPage, AuditQuery
from kpi_auth.context import Cursors

router = APIRouter(tags=["audit"])


@router.get("/audit", responses=problems(UnauthenticatedError, ForbiddenError, InvalidCursorError))
async def list_audit(
    query: Annotated[AuditQuery, Query()], _admin: AdminUser, cursors: Cursors, connection: Reader, response: Response
) -> AuditPage:
    """What happened to accounts, the newest first; for admins."""
    response.headers["Cache-Control"] = "no-store"
    return await service.get_page(connection, query=query, cursors=cursors)
