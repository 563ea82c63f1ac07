"""Reading and writing posts."""

from typing import Annotated, NamedTuple

from fastapi import Depends, Query, Request, Response
from kpi_shared.caller import Subject
from kpi_shared.cursors import InvalidCursorError
from kpi_shared.database import Database, DatabaseOfApp, Writer
from kpi_shared.errors import UnauthenticatedError
from kpi_shared.http.conditional import IF_MATCH, IF_NONE_MATCH, NOT_MODIFIED, ChangedMeanwhileError, IfMatch
from kpi_shared.http.media_types import Router
from kpi_shared.http.openapi import problems
from kpi_shared.idempotency import IDEMPOTENCY_KEY, RETRY_ERRORS, Once
from kpi_shared.paging import Cursors, Page, Total, check_start, cut_page, decode_cursor, encode_cursor
from kpi_shared.records.responses import encode_page, encode_row, read_response, write_response
from kpi_shared.records.schemas import RowId
from kpi_shared.security import OptionalReadAccess, WriteAccess

from kpi_content.posts import repository, service
from kpi_content.posts.errors import NotYourPostError, PostNotFoundError
from kpi_content.posts.filters import Position, PostFilter
from kpi_content.posts.rows import ListedRow, position_of
from kpi_content.posts.schemas import CountedPostPage, PostCreate, PostPage, PostPublic, PostQuery, PostUpdate
from kpi_content.search.errors import SearchBusyError
from kpi_content.search.places import take_place

router = Router(prefix="/posts", tags=["posts"])

_owner_only = problems(UnauthenticatedError, NotYourPostError, PostNotFoundError, ChangedMeanwhileError)


class _ListRequest(NamedTuple):
    query: PostQuery
    post_filter: PostFilter
    after: Position | None
    caller: Subject | None

    @property
    def is_costly(self) -> bool:
        return self.post_filter.search is not None or self.query.total


async def _parse_list_request(
    request: Request, query: Annotated[PostQuery, Query()], caller: OptionalReadAccess, cursors: Cursors
) -> _ListRequest:
    """Every check of the request, so that a refused one takes no connection."""
    if query.mine and caller is None:
        raise UnauthenticatedError("A list of your own posts needs an access token")
    check_start(cursor=query.cursor, skip=query.skip)
    owner_id = caller.id if query.mine and caller else None
    search = (query.search or "").strip() or None
    post_filter = PostFilter(query.sort, search, owner_id, request.app.state.hides_deleted)
    after = Position._make(decode_cursor(query.cursor, of=post_filter, sealer=cursors)) if query.cursor else None
    return _ListRequest(query, post_filter, after, caller)


@router.get(
    "",
    response_model=CountedPostPage | PostPage,
    responses=problems(UnauthenticatedError, InvalidCursorError, SearchBusyError) | NOT_MODIFIED,
    openapi_extra=IF_NONE_MATCH,
)
async def list_posts(
    request: Request,
    parsed: Annotated[_ListRequest, Depends(_parse_list_request)],
    cursors: Cursors,
    database: DatabaseOfApp,
) -> Response:
    """List the published posts, or your own posts, page by page. Drafts appear only in their owner's own list."""
    if parsed.is_costly:
        with await take_place(request, parsed.caller):
            rows, total = await _read_list(database, parsed)
    else:
        rows, total = await _read_list(database, parsed)
    page = cut_page(
        rows,
        limit=parsed.query.limit,
        cursor_after=lambda row: encode_cursor(position_of(row), of=parsed.post_filter, sealer=cursors),
    )
    return read_response(request, encode_page(Page([post for post, _ in page.rows], page.next, total)))


async def _read_list(database: Database, parsed: _ListRequest) -> tuple[list[ListedRow], Total | None]:
    query, post_filter, after, _ = parsed
    async with database.direct() as connection:
        rows = await repository.get_page(
            connection, post_filter=post_filter, limit=query.limit + 1, skip=query.skip, after=after
        )
        return rows, await repository.count(connection, post_filter=post_filter) if query.total else None


@router.get(
    "/{post_id}",
    response_model=PostPublic,
    responses=problems(UnauthenticatedError, PostNotFoundError) | NOT_MODIFIED,
    openapi_extra=IF_NONE_MATCH,
)
async def get_post(request: Request, post_id: RowId, caller: OptionalReadAccess, database: DatabaseOfApp) -> Response:
    """Get a published post, or a draft of your own."""
    async with database.direct() as connection:
        row = await repository.get_or_raise(
            connection,
            post_id=post_id,
            caller_id=caller.id if caller else None,
            hides_deleted=request.app.state.hides_deleted,
        )
    return read_response(request, encode_row(row))


@router.post(
    "",
    status_code=201,
    response_model=PostPublic,
    responses=problems(UnauthenticatedError, *RETRY_ERRORS),
    openapi_extra=IDEMPOTENCY_KEY,
)
async def create_post(post: PostCreate, caller: WriteAccess, once: Once) -> Response:
    """Create a post. With ``published`` set to false it is a draft, which only its owner can see."""
    async with once.direct(caller) as connection:
        row = await service.create(connection, post=post, caller=caller)
        return await once.keep(write_response(row, status=201, headers={"Location": f"/posts/{row['id']}"}))


@router.put("/{post_id}", response_model=PostPublic, responses=_owner_only, openapi_extra=IF_MATCH)
async def replace_post(
    request: Request, post_id: RowId, post: PostCreate, caller: WriteAccess, condition: IfMatch, connection: Writer
) -> Response:
    """Replace the title, the content and ``published`` of your own post."""
    row = await service.change(
        connection,
        post_id=post_id,
        changes=post.model_dump(),
        caller=caller,
        condition=condition,
        hides_deleted=request.app.state.hides_deleted,
    )
    return write_response(row)


@router.patch("/{post_id}", response_model=PostPublic, responses=_owner_only, openapi_extra=IF_MATCH)
async def update_post(
    request: Request, post_id: RowId, post: PostUpdate, caller: WriteAccess, condition: IfMatch, connection: Writer
) -> Response:
    """Change some fields of your own post."""
    row = await service.change(
        connection,
        post_id=post_id,
        changes=post.changes,
        caller=caller,
        condition=condition,
        hides_deleted=request.app.state.hides_deleted,
    )
    return write_response(row)


@router.delete("/{post_id}", status_code=204, responses=_owner_only, openapi_extra=IF_MATCH)
async def delete_post(
    request: Request, post_id: RowId, caller: WriteAccess, condition: IfMatch, connection: Writer
) -> None:
    """Delete your own post and its votes. Admins may delete any published post."""
    hides_deleted = request.app.state.hides_deleted
    await service.remove(connection, post_id=post_id, caller=caller, condition=condition, hides_deleted=hides_deleted)
