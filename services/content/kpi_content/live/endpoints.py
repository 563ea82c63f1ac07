"""Following a conversation, and messages that are streamed into one."""

from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, aclosing
from typing import Annotated, Any, Literal

from fastapi import Depends, Header, Query, Request, Response
from kpi_shared import deadlines
from kpi_shared.database import MAX_ID, DatabaseOfApp
from kpi_shared.deadlines import LASTS, MORE_BODY_BYTES, OWN_PACE
from kpi_shared.errors import UnauthenticatedError
from kpi_shared.http.media_types import MediaTypeRoute, Router
from kpi_shared.http.middleware import IS_HEAD
from kpi_shared.http.openapi import problems
from kpi_shared.idempotency import StreamedOnce
from kpi_shared.integers import Decimal
from kpi_shared.security import ReadAccess, WriteAccess
from kpi_shared.streams import ReaderStream
from pydantic import BeforeValidator
from starlette.routing import Match
from starlette.types import Scope

from kpi_content.conversations import stream_repository
from kpi_content.conversations.dependencies import ConversationId
from kpi_content.conversations.errors import ConversationNotFoundError
from kpi_content.live.deltas import create_parser
from kpi_content.live.drafts import Draft
from kpi_content.live.errors import TooManyStreamsError
from kpi_content.live.limits import OpenByAccount
from kpi_content.live.streams import EventStream, find_beginning
from kpi_content.live.uploads import RETRY_SECONDS, Upload
from kpi_content.messages import service as messages
from kpi_content.messages.models import MessageRole
from kpi_content.messages.upload_documents import EVENT_STREAM, LINES

router = Router(prefix="/conversations/{conversation_id}", tags=["conversations"])

# A message of 100,000 characters, each in an event of its own and escaped.
_MORE_BYTES = 14 * 1024 * 1024
_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"description": "Server-Sent Events without an end", "content": {EVENT_STREAM: {"schema": {"type": "string"}}}}
}
_LAST = "The id of the last event that the client has; without it, the stream begins now"
_NO_STORE = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def _strip(value: object) -> object:
    """White space around a value is no part of it (RFC 9110, 5.5)."""
    return value.strip(" \t") if isinstance(value, str) else value


async def _last_event(
    last_event_id: Annotated[
        Decimal | None,
        Header(alias="Last-Event-ID", ge=0, le=MAX_ID, description=_LAST),
        BeforeValidator(_strip),
    ] = None,
    after: Annotated[
        Decimal | None,
        Query(
            ge=0,
            le=MAX_ID,
            description="The same as Last-Event-ID, for clients that cannot send it; Last-Event-ID takes precedence",
        ),
    ] = None,
) -> int | None:
    return after if last_event_id is None else last_event_id


@router.get(
    "/events",
    response_class=Response,
    responses=problems(UnauthenticatedError, ConversationNotFoundError, TooManyStreamsError) | _EVENTS,
)
async def follow_conversation(
    request: Request,
    conversation_id: ConversationId,
    caller: ReadAccess,
    last_event: Annotated[int | None, Depends(_last_event)],
    database: DatabaseOfApp,
) -> Response:
    """Follow what happens in a conversation, from now on or after the event with the given id."""
    async with database.direct() as connection:
        start = await stream_repository.get_start(connection, conversation_id=conversation_id, user_id=caller.id)
    if start is None:
        raise ConversationNotFoundError
    if request.scope.get(IS_HEAD):
        return Response(media_type=EVENT_STREAM, headers=_NO_STORE)
    open_streams: OpenByAccount = request.app.state.open_streams
    open_streams.check(caller.id)
    request.scope[LASTS] = True
    stream = EventStream(
        request.app.state.hub,
        conversation_id=conversation_id,
        reader_id=caller.id,
        beginning=find_beginning(start, last_event),
        newest=start.last,
    )
    chunks = _held(stream.chunks(), open_streams.holding(caller.id))
    return ReaderStream(request, chunks, reader=caller, media_type=EVENT_STREAM, headers=_NO_STORE)


async def _held(
    chunks: AsyncGenerator[bytes, None], holding: AbstractContextManager[None]
) -> AsyncGenerator[bytes, None]:
    """From the first chunk on: a response that is never begun does not end."""
    with holding:
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk


class _UploadRoute(MediaTypeRoute):
    """The same path and method as a message in one piece, which is another operation: its body is read as it comes."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        pieces = scope["query_string"].split(b"&") if scope["type"] == "http" else []
        is_upload = any(piece.startswith(b"stream=") and piece != b"stream=false" for piece in pieces)
        return super().matches(scope) if is_upload else (Match.NONE, {})


async def _require_stream(stream: Literal["true"]) -> None:
    """Any other spelling is refused: the gateway streams with this one only."""


uploads = Router(prefix="/conversations/{conversation_id}", route_class=_UploadRoute)


@uploads.post(
    "/messages",
    status_code=201,
    include_in_schema=False,
    dependencies=[Depends(_require_stream)],
    openapi_extra={"requestBody": {"content": {EVENT_STREAM: {}, LINES: {}}}},
)
async def upload_message(
    request: Request,
    conversation_id: ConversationId,
    caller: WriteAccess,
    database: DatabaseOfApp,
    once: StreamedOnce,
    role: MessageRole = MessageRole.ASSISTANT,
) -> Response:
    """Write a message while it is being generated: readers see its deltas at once, and it is stored at their end."""
    async with database.committing() as connection:
        await messages.check_writer(connection, conversation_id=conversation_id, caller=caller)
    deadlines.extend(RETRY_SECONDS)
    request.scope.update({OWN_PACE: True, MORE_BODY_BYTES: _MORE_BYTES})
    draft = Draft(request.app.state.drafts, conversation_id=conversation_id, author=caller, role=role)
    parser = create_parser(request.headers.get("content-type", ""))
    upload = Upload(draft, parser, once, silence=request.app.state.settings.upload_silence_timeout)
    response: Response = await request.app.state.uploads.run(upload, request.stream(), caller=caller)
    return response
