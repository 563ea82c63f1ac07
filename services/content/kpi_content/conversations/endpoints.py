"""Reading and writing conversations."""

from fastapi import Request, Response
from kpi_shared.database import DatabaseOfApp
from kpi_shared.errors import UnauthenticatedError
from kpi_shared.http.conditional import IF_NONE_MATCH, NOT_MODIFIED
from kpi_shared.http.media_types import Router
from kpi_shared.http.openapi import problems
from kpi_shared.security import ReadAccess, WriteAccess

from kpi_content.conversations import repository, service
from kpi_content.conversations.dependencies import ConversationId
from kpi_content.conversations.errors import ConversationNotFoundError
from kpi_content.conversations.responses import read_response, write_response
from kpi_content.conversations.rows import encode_conversation
from kpi_content.conversations.schemas import ConversationCreate, ConversationPublic

router = Router(prefix="/conversations", tags=["conversations"])


@router.post("", status_code=201, response_model=ConversationPublic, responses=problems(UnauthenticatedError))
async def create_conversation(
    conversation: ConversationCreate, caller: WriteAccess, database: DatabaseOfApp
) -> Response:
    """Create a conversation, which only you can see until you share it."""
    async with database.committing() as connection:
        row = await service.create(connection, conversation=conversation, caller=caller)
    return write_response(encode_conversation(row), status=201, headers={"Location": f"/conversations/{row['id']}"})


@router.get(
    "/{conversation_id}",
    response_model=ConversationPublic,
    responses=problems(UnauthenticatedError, ConversationNotFoundError) | NOT_MODIFIED,
    openapi_extra=IF_NONE_MATCH,
)
async def get_conversation(
    request: Request, conversation_id: ConversationId, caller: ReadAccess, database: DatabaseOfApp
) -> Response:
    """Get a conversation of which you are a member."""
    async with database.direct() as connection:
        row = await repository.get_or_raise(connection, conversation_id=conversation_id, caller_id=caller.id)
    return read_response(request, encode_conversation(row))
