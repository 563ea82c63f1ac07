"""The endpoints of the outbox, for admins."""

from typing import Annotated

from fastapi import Depends, Path, Query
from kpi_shared.database import MAX_ID, Reader, Writer
from kpi_shared.errors import ForbiddenError, UnauthenticatedError
from kpi_shared.http.media_types import Router
from kpi_shared.http.openapi import problems
from kpi_shared.integers import Decimal
from kpi_shared.paging import cut_page
from kpi_shared.security import AdminAccess

from kpi_auth.context import CurrentContext
from kpi_auth.mails import repository, service
from kpi_auth.mails.errors import MailNotFoundError, MailNotRetriableError
from kpi_auth.mails.schemas import MailPage, MailQuery, MailShown
from kpi_auth.responses import no_store

router = Router(prefix="/auth/mails", tags=["mails"], dependencies=[Depends(no_store)])

MailId = Annotated[Decimal, Path(ge=1, le=MAX_ID)]


@router.get("", responses=problems(UnauthenticatedError, ForbiddenError))
async def list_mails(query: Annotated[MailQuery, Query()], _caller: AdminAccess, connection: Reader) -> MailPage:
    """List the mails of the outbox, newest first, without their contents; admins only."""
    rows = await repository.get_page(connection, state=query.state, before=query.cursor, limit=query.limit + 1)
    page = cut_page(rows, limit=query.limit, cursor_after=lambda row: str(row.id))
    return MailPage(items=[MailShown.model_validate(row, from_attributes=True) for row in page.rows], next=page.next)


@router.post(
    "/{mail_id}/retry",
    responses=problems(UnauthenticatedError, ForbiddenError, MailNotFoundError, MailNotRetriableError),
)
async def retry_mail(mail_id: MailId, caller: AdminAccess, connection: Writer, context: CurrentContext) -> MailShown:
    """Send a dead mail again, if its content is still there and has not expired; admins only."""
    return await service.retry(context, connection, mail_id=mail_id, caller=caller)
