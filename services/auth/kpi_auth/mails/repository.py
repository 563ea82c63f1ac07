"""The SQL of the outbox."""

from datetime import datetime

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.mails.models import OutboxMail

_add = insert(OutboxMail)


async def add(
    connection: AsyncConnection, *, recipient: str, template: str, content: str, expires_at: datetime | None
) -> None:
    values = {"recipient": recipient, "template": template, "content": content, "expires_at": expires_at}
    await connection.execute(_add, values)
