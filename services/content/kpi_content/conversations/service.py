"""Writing conversations: who may do it, and which error the others get."""

from kpi_shared.caller import Subject
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_content.conversations import repository
from kpi_content.conversations.rows import ConversationRow
from kpi_content.conversations.schemas import ConversationCreate


async def create(connection: AsyncConnection, *, conversation: ConversationCreate, caller: Subject) -> ConversationRow:
    return await repository.add(connection, title=conversation.title, owner=caller)
