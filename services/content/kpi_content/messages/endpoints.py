"""Reading, searching, writing and deleting the messages of conversations."""

from functools import partial
from typing import Annotated

from fastapi import Path, Query, Request, Response
from kpi_shared.cursors import InvalidCursorError
from kpi_shared.database import MAX_ID, DatabaseOfApp, Writer
from kpi_shared.errors import UnauthenticatedError
from kpi_shared.http.conditional import IF_MATCH, IF_NONE_MATCH, NOT_MODIFIED, ChangedMeanwhileError, IfMatch
from kpi_shared.http.media_types import Router
from kpi_shared.http.openapi import problems
from kpi_shared.idempotency import IDEMPOTENCY_KEY, RETRY_ERRORS, Once
from kpi_shared.integers import Decimal
from kpi_shared.paging import Cursors, cut_page, decode_cursor, encode_cursor
from kpi_shared.records.responses import encode_page, encode_row, read_response
from kpi_shared.security import ReadAccess, WriteAccess

from kpi_content.conversations.dependencies import ConversationId
from kpi_content.conversations.errors import ConversationNotFoundError, ReadOnlyMemberError
from kpi_content.messages import repository, service
from kpi_content.messages.errors import (
    MessageNotFoundError,
    NotYourMessageError,
    NumberNotGivenError,
)
from kpi_content.messages.filters import MessageFilter, Position, SearchFilter
from kpi_content.messages.responses import created_response
from kpi_content.messages.schemas import (
    MessageCreate,
    MessagePage,
    MessagePublic,
    MessageQuery,
    ReadMark,
    ReadState,
    SearchQuery,
)
from kpi_content.messages.upload_documents import UPLOAD, UPLOAD_ERRORS
from kpi_content.search.errors import SearchBusyError
from kpi_content.search.places import take_place

router = Router(tags=["messages"])

_MessageId = Annotated[Decimal, Path(ge=1, le=MAX_ID)]
_HIDDEN = (UnauthenticatedError, ConversationNotFoundError)


@router.get(
    "/messages",
    response_model=MessagePage,
    responses=problems(UnauthenticatedError, InvalidCursorError, SearchBusyError) | NOT_MODIFIED,
    openapi_extra=IF_NONE_MATCH,
)
async def search_messages(
    request: Request,
    query: Annotated[SearchQuery, Query()],
    caller: ReadAccess,
    cursors: Cursors,
    database: DatabaseOfApp,
) -> Response:
    """Search the messages of all conversations that you are a member of, newest first."""
    found = SearchFilter(caller.id, query.search.strip(), query.conversation_id)
    [before] = decode_cursor(query.cursor, of=found, sealer=cursors) if query.cursor else (MAX_ID,)
    with await take_place(request, caller):
        async with database.direct() as connection:
            rows = await repository.search(connection, search_filter=found, before=before, limit=query.limit + 1)
    limit = min(query.limit, repository.count_fitting(rows))
    page = cut_page(rows, limit=limit, cursor_after=lambda row: encode_cursor((row["id"],), of=found, sealer=cursors))
    return read_response(request, encode_page(page))


@router.get(
    "/conversations/{conversation_id}/messages",
    response_model=MessagePage,
    responses=problems(*_HIDDEN, InvalidCursorError) | NOT_MODIFIED,
    openapi_extra=IF_NONE_MATCH,
)
async def list_messages(
    request: Request,
    conversation_id: ConversationId,
    query: Annotated[MessageQuery, Query()],
    caller: ReadAccess,
    cursors: Cursors,
    database: DatabaseOfApp,
) -> Response:
    """List messages by their numbers, page by page in either direction; each page is in ascending order."""
    listed = MessageFilter(conversation_id)
    start = query.start
    if query.cursor:
        start = Position._make(decode_cursor(query.cursor, of=listed, sealer=cursors))
    async with database.direct() as connection:
        rows = await repository.get_page(
            connection, conversation_id=conversation_id, caller_id=caller.id, start=start, limit=query.limit + 1
        )
    page = cut_page(
        rows,
        limit=min(query.limit, repository.count_fitting(rows)),
        cursor_after=lambda row: encode_cursor((start.is_backwards, row["number"]), of=listed, sealer=cursors),
    )
    in_order = page.rows[::-1] if start.is_backwards else page.rows
    return read_response(request, encode_page(page._replace(rows=in_order)))


@router.post(
    "/conversations/{conversation_id}/messages",
    status_code=201,
    response_model=MessagePublic,
    responses=problems(*_HIDDEN, ReadOnlyMemberError, *RETRY_ERRORS, *UPLOAD_ERRORS),
    openapi_extra={**UPLOAD, "parameters": [*UPLOAD["parameters"], *IDEMPOTENCY_KEY["parameters"]]},
)
async def create_message(
    conversation_id: ConversationId, message: MessageCreate, caller: WriteAccess, once: Once
) -> Response:
    """Write a message, which gets the next number of the conversation. You have then read all up to it.

    With `stream=true` in the query, its text is taken while it is being generated, and shown to readers at once: from a
    body of deltas, `application/x-ndjson` or `text/event-stream`.
    """
    require = partial(service.check_writer, conversation_id=conversation_id, caller=caller)
    async with once.committing(caller, require=require) as connection:
        row = await service.create(connection, conversation_id=conversation_id, message=message, caller=caller)
        return await once.keep(created_response(row))


@router.get(
    "/conversations/{conversation_id}/messages/{message_id}",
    response_model=MessagePublic,
    responses=problems(*_HIDDEN, MessageNotFoundError) | NOT_MODIFIED,
    openapi_extra=IF_NONE_MATCH,
)
async def get_message(
    request: Request,
    conversation_id: ConversationId,
    message_id: _MessageId,
    caller: ReadAccess,
    database: DatabaseOfApp,
) -> Response:
    """Get a message by its id."""
    async with database.direct() as connection:
        row = await repository.get_or_raise(
            connection, conversation_id=conversation_id, message_id=message_id, caller_id=caller.id
        )
    return read_response(request, encode_row(row))


@router.delete(
    "/conversations/{conversation_id}/messages/{message_id}",
    status_code=204,
    responses=problems(*_HIDDEN, MessageNotFoundError, NotYourMessageError, ChangedMeanwhileError),
    openapi_extra=IF_MATCH,
)
async def delete_message(
    conversation_id: ConversationId,
    message_id: _MessageId,
    caller: WriteAccess,
    condition: IfMatch,
    connection: Writer,
) -> None:
    """Delete a message of your own or, as an owner of the conversation, any. Its number is not given again."""
    await service.delete(
        connection, conversation_id=conversation_id, message_id=message_id, caller=caller, condition=condition
    )


@router.put("/conversations/{conversation_id}/read", responses=problems(*_HIDDEN, NumberNotGivenError))
async def mark_as_read(
    conversation_id: ConversationId, mark: ReadMark, caller: WriteAccess, connection: Writer
) -> ReadState:
    """Move your read mark to a number, forwards or backwards."""
    return await service.mark_as_read(connection, conversation_id=conversation_id, number=mark.number, caller=caller)
