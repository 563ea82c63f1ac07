"""Reading and writing conversations."""

from typing import Annotated

from fastapi import Query, Request, Response
from kpi_shared.cursors import InvalidCursorError
from kpi_shared.database import DatabaseOfApp, Writer
from kpi_shared.errors import UnauthenticatedError
from kpi_shared.http.conditional import IF_MATCH, IF_NONE_MATCH, NOT_MODIFIED, ChangedMeanwhileError, IfMatch
from kpi_shared.http.media_types import Router
from kpi_shared.http.openapi import problems
from kpi_shared.idempotency import IDEMPOTENCY_KEY, RETRY_ERRORS, Once
from kpi_shared.paging import Cursors, cut_page, decode_cursor, encode_cursor
from kpi_shared.records.responses import encode_page, encode_row, read_response, write_response
from kpi_shared.security import ReadAccess, WriteAccess

from kpi_content.conversations import repository, service
from kpi_content.conversations.dependencies import ConversationId
from kpi_content.conversations.errors import (
    ConversationNotFoundError,
    NotAnOwnerError,
)
from kpi_content.conversations.filters import ConversationFilter, Position
from kpi_content.conversations.rows import position_of
from kpi_content.conversations.schemas import (
    ConversationCreate,
    ConversationPage,
    ConversationPublic,
    ConversationQuery,
    ConversationUpdate,
)

router = Router(prefix="/conversations", tags=["conversations"])

_owner_only = problems(UnauthenticatedError, NotAnOwnerError, ConversationNotFoundError, ChangedMeanwhileError)


@router.get(
    "",
    response_model=ConversationPage,
    responses=problems(UnauthenticatedError, InvalidCursorError) | NOT_MODIFIED,
    openapi_extra=IF_NONE_MATCH,
)
async def list_conversations(
    request: Request,
    query: Annotated[ConversationQuery, Query()],
    caller: ReadAccess,
    cursors: Cursors,
    database: DatabaseOfApp,
) -> Response:
    """List the conversations that you are a member of, those with the newest activity first."""
    listed = ConversationFilter(caller.id)
    after = Position._make(decode_cursor(query.cursor, of=listed, sealer=cursors)) if query.cursor else None
    async with database.direct() as connection:
        rows = await repository.get_page(connection, caller_id=caller.id, limit=query.limit + 1, after=after)
    page = cut_page(
        rows,
        limit=query.limit,
        cursor_after=lambda row: encode_cursor(position_of(row), of=listed, sealer=cursors),
    )
    return read_response(request, encode_page(page))


@router.post(
    "",
    status_code=201,
    response_model=ConversationPublic,
    responses=problems(UnauthenticatedError, *RETRY_ERRORS),
    openapi_extra=IDEMPOTENCY_KEY,
)
async def create_conversation(conversation: ConversationCreate, caller: WriteAccess, once: Once) -> Response:
    """Create a conversation, which only you can see until you share it."""
    async with once.committing(caller) as connection:
        row = await service.create(connection, conversation=conversation, caller=caller)
        headers = {"Location": f"/conversations/{row['id']}"}
        return await once.keep(write_response(row, status=201, headers=headers))


@router.get(
    "/{conversation_id}",
    response_model=ConversationPublic,
    responses=problems(UnauthenticatedError, ConversationNotFoundError) | NOT_MODIFIED,
    openapi_extra=IF_NONE_MATCH,
)
async def get_conversation(
    request: Request, conversation_id: ConversationId, caller: ReadAccess, database: DatabaseOfApp
) -> Response:
    """Get a conversation that you are a member of."""
    async with database.direct() as connection:
        row = await repository.get_or_raise(connection, conversation_id=conversation_id, caller_id=caller.id)
    return read_response(request, encode_row(row))


@router.patch("/{conversation_id}", response_model=ConversationPublic, responses=_owner_only, openapi_extra=IF_MATCH)
async def update_conversation(
    conversation_id: ConversationId,
    changes: ConversationUpdate,
    caller: WriteAccess,
    condition: IfMatch,
    connection: Writer,
) -> Response:
    """Rename a conversation that you are an owner of."""
    row = await service.rename(
        connection, conversation_id=conversation_id, title=changes.title, caller=caller, condition=condition
    )
    return write_response(row)


@router.delete("/{conversation_id}", status_code=204, responses=_owner_only, openapi_extra=IF_MATCH)
async def delete_conversation(
    conversation_id: ConversationId, caller: WriteAccess, condition: IfMatch, connection: Writer
) -> None:
    """Delete a conversation that you are an owner of, with its messages, for all of its members."""
    await service.delete(connection, conversation_id=conversation_id, caller=caller, condition=condition)
