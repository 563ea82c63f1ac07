"""Sharing conversations."""

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
from kpi_shared.records.responses import encode_page, encode_row, read_response, write_response
from kpi_shared.security import ReadAccess, WriteAccess

from kpi_content.conversations import member_repository, member_service
from kpi_content.conversations.dependencies import ConversationId
from kpi_content.conversations.errors import (
    AlreadyMemberError,
    ConversationNotFoundError,
    LastOwnerError,
    MemberLimitError,
    MemberNotFoundError,
    NotAnOwnerError,
    UnknownUserError,
)
from kpi_content.conversations.filters import MemberFilter
from kpi_content.conversations.schemas import MemberAdd, MemberPage, MemberPublic, MemberQuery, MemberUpdate

router = Router(prefix="/conversations/{conversation_id}/members", tags=["conversations"])

_UserId = Annotated[Decimal, Path(ge=1, le=MAX_ID)]
_HIDDEN = (UnauthenticatedError, ConversationNotFoundError)


@router.get(
    "",
    response_model=MemberPage,
    responses=problems(*_HIDDEN, InvalidCursorError) | NOT_MODIFIED,
    openapi_extra=IF_NONE_MATCH,
)
async def list_members(
    request: Request,
    conversation_id: ConversationId,
    query: Annotated[MemberQuery, Query()],
    caller: ReadAccess,
    cursors: Cursors,
    database: DatabaseOfApp,
) -> Response:
    """List the members of a conversation by their ids."""
    listed = MemberFilter(conversation_id)
    [after] = decode_cursor(query.cursor, of=listed, sealer=cursors) if query.cursor else (0,)
    async with database.direct() as connection:
        rows = await member_repository.get_page(
            connection, conversation_id=conversation_id, caller_id=caller.id, after=after, limit=query.limit + 1
        )
    page = cut_page(
        rows,
        limit=query.limit,
        cursor_after=lambda row: encode_cursor((row["user"]["id"],), of=listed, sealer=cursors),
    )
    return read_response(request, encode_page(page))


@router.post(
    "",
    status_code=201,
    response_model=MemberPublic,
    responses=problems(
        *(*_HIDDEN, NotAnOwnerError, UnknownUserError, AlreadyMemberError, MemberLimitError), *RETRY_ERRORS
    ),
    openapi_extra=IDEMPOTENCY_KEY,
)
async def add_member(conversation_id: ConversationId, member: MemberAdd, caller: WriteAccess, once: Once) -> Response:
    """Share a conversation that you are an owner of: a reader reads, a writer also writes, an owner also shares."""
    require = partial(member_service.check_owner, conversation_id=conversation_id, caller=caller)
    async with once.writing(caller, require=require) as connection:
        row = await member_service.add(connection, conversation_id=conversation_id, wanted=member, caller=caller)
        location = f"/conversations/{conversation_id}/members/{row['user']['id']}"
        return await once.keep(write_response(row, status=201, headers={"Location": location}))


@router.get(
    "/{user_id}",
    response_model=MemberPublic,
    responses=problems(*_HIDDEN, MemberNotFoundError) | NOT_MODIFIED,
    openapi_extra=IF_NONE_MATCH,
)
async def get_member(
    request: Request, conversation_id: ConversationId, user_id: _UserId, caller: ReadAccess, database: DatabaseOfApp
) -> Response:
    """Get a member of a conversation."""
    async with database.direct() as connection:
        row = await member_repository.get_or_raise(
            connection, conversation_id=conversation_id, user_id=user_id, caller_id=caller.id
        )
    return read_response(request, encode_row(row))


@router.patch(
    "/{user_id}",
    response_model=MemberPublic,
    responses=problems(*_HIDDEN, NotAnOwnerError, MemberNotFoundError, LastOwnerError, ChangedMeanwhileError),
    openapi_extra=IF_MATCH,
)
async def update_member(
    conversation_id: ConversationId,
    user_id: _UserId,
    change: MemberUpdate,
    caller: WriteAccess,
    condition: IfMatch,
    connection: Writer,
) -> Response:
    """Change the role of a member. One owner must stay."""
    row = await member_service.change_role(
        connection,
        conversation_id=conversation_id,
        user_id=user_id,
        role=change.role,
        caller=caller,
        condition=condition,
    )
    return write_response(row)


@router.delete(
    "/{user_id}",
    status_code=204,
    responses=problems(*_HIDDEN, NotAnOwnerError, MemberNotFoundError, LastOwnerError, ChangedMeanwhileError),
    openapi_extra=IF_MATCH,
)
async def remove_member(
    conversation_id: ConversationId, user_id: _UserId, caller: WriteAccess, condition: IfMatch, connection: Writer
) -> None:
    """Remove a member, as an owner, or leave the conversation. One owner must stay."""
    await member_service.remove(
        connection, conversation_id=conversation_id, user_id=user_id, caller=caller, condition=condition
    )
