"""What admins do with the mails of the outbox."""

from kpi_shared.caller import Subject
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.audit.models import Event
from kpi_auth.audit.service import record
from kpi_auth.context import Context
from kpi_auth.mails import repository
from kpi_auth.mails.errors import MailNotFoundError, MailNotRetriableError
from kpi_auth.mails.models import MailState
from kpi_auth.mails.schemas import MailShown


async def retry(context: Context, connection: AsyncConnection, *, mail_id: int, caller: Subject) -> MailShown:
    """Make a dead mail due again, as if it were new; raise MailNotFoundError or MailNotRetriableError."""
    is_revived = await repository.revive(connection, mail_id=mail_id)
    row = await repository.get(connection, mail_id=mail_id)
    if row is None:
        raise MailNotFoundError
    if not is_revived:
        reason = "Its content has expired" if row.state == MailState.DEAD else f"The state of this mail is {row.state}"
        raise MailNotRetriableError(reason)
    details = {"mail_id": mail_id, "template": row.template}
    await record(context, connection, Event.MAIL_RETRIED, actor_id=caller.id, details=details)
    return MailShown.model_validate(row, from_attributes=True)
