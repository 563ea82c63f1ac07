"""Reading and writing the messages of a conversation."""

from fastapi import Response
from kpi_shared.database import DatabaseOfApp
from kpi_shared.errors import UnauthenticatedError
from kpi_shared.http.media_types import Router
from kpi_shared.http.openapi import problems
from kpi_shared.security import WriteAccess

from kpi_content.conversations.dependencies import ConversationId
from kpi_content.conversations.errors import ConversationNotFoundError, ReadOnlyMemberError
from kpi_content.conversations.responses import write_response
from kpi_content.messages import service
from kpi_content.messages.rows import encode_message
from kpi_content.messages.schemas import MessageCreate, MessagePublic

router = Router(prefix="/conversations/{conversation_id}/messages", tags=["messages"])


@router.post(
    "",
    status_code=201,
    response_model=MessagePublic,
    responses=problems(UnauthenticatedError, ReadOnlyMemberError, ConversationNotFoundError),
)
async def create_message(
    conversation_id: ConversationId, message: MessageCreate, caller: WriteAccess, database: DatabaseOfApp
) -> Response:
    """Write a message, which gets the next number of the conversation. You have then read all up to it."""
    async with database.committing() as connection:
        row = await service.create(connection, conversation_id=conversation_id, message=message, caller=caller)
    location = f"/conversations/{conversation_id}/messages/{row['id']}"
    return write_response(encode_message(row), status=201, headers={"Location": location})
