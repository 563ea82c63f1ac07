"""Reading and writing posts."""

from typing import Annotated, NamedTuple

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from kpi_shared.cursors import InvalidCursorError
from kpi_shared.database import MAX_ID, DatabaseOfApp, Writer
from kpi_shared.errors import UnauthenticatedError
from kpi_shared.http.conditional import IF_NONE_MATCH, NOT_MODIFIED
from kpi_shared.http.openapi import problems
from kpi_shared.security import CurrentUser, OptionalUser

from kpi_content.posts import answers, repository, service
from kpi_content.posts.dependencies import Cursors
from kpi_content.posts.errors import NotYourPostError, PostNotFoundError
from kpi_content.posts.listing import Listing, Position
from kpi_content.posts.schemas import CountedPostPage, PostCreate, PostPage, PostPublic, PostQuery, PostUpdate

router = APIRouter(prefix="/posts", tags=["posts"])

PostId = Annotated[int, Path(ge=1, le=MAX_ID)]
_owner_only = problems(UnauthenticatedError, NotYourPostError, PostNotFoundError)


class _Asked(NamedTuple):
    query: PostQuery
    listing: Listing
    after: Position | None


async def _asked(query: Annotated[PostQuery, Query()], caller: OptionalUser, cursors: Cursors) -> _Asked:
    """Everything that can be refused, before a connection is taken."""
    if query.mine and caller is None:
        raise UnauthenticatedError("Your own posts need your access token")
    if query.cursor is not None and query.skip:
        raise InvalidCursorError("Either cursor or skip, not both")
    owner_id = caller.id if query.mine and caller else None
    listing = Listing(query.sort, (query.search or "").strip() or None, owner_id)
    return _Asked(query, listing, cursors.decode(query.cursor, listing) if query.cursor else None)


@router.get(
    "",
    response_model=CountedPostPage | PostPage,
    responses=problems(UnauthenticatedError, InvalidCursorError) | NOT_MODIFIED,
    openapi_extra=IF_NONE_MATCH,
)
async def list_posts(
    request: Request, asked: Annotated[_Asked, Depends(_asked)], cursors: Cursors, database: DatabaseOfApp
) -> Response:
    """The published posts, or one's own, page by page; someone's drafts are in their own list only."""
    query, listing, after = asked
    async with database.direct() as connection:
        rows = await repository.page(connection, listing=listing, limit=query.limit + 1, skip=query.skip, after=after)
        total = await repository.count(connection, listing=listing) if query.total else None
    following = cursors.encode(rows[query.limit - 1].position, listing) if len(rows) > query.limit else None
    return answers.read(request, answers.page(rows[: query.limit], following=following, total=total))


@router.get(
    "/{post_id}",
    response_model=PostPublic,
    responses=problems(UnauthenticatedError, PostNotFoundError) | NOT_MODIFIED,
    openapi_extra=IF_NONE_MATCH,
)
async def get_post(request: Request, post_id: PostId, caller: OptionalUser, database: DatabaseOfApp) -> Response:
    """A published post, or a draft of one's own."""
    async with database.direct() as connection:
        row = await repository.get_or_raise(connection, post_id=post_id, caller_id=caller.id if caller else None)
    return answers.read(request, answers.post(row))


@router.post("", status_code=201, response_model=PostPublic, responses=problems(UnauthenticatedError))
async def create_post(post: PostCreate, caller: CurrentUser, database: DatabaseOfApp) -> Response:
    """Write a post; with ``published`` false it is a draft that only its owner sees."""
    async with database.direct() as connection:
        row = await repository.add(connection, post=post, owner=caller)
    return answers.written(row, status=201, headers={"Location": f"/posts/{row.id}"})


@router.put("/{post_id}", response_model=PostPublic, responses=_owner_only)
async def replace_post(post_id: PostId, post: PostCreate, caller: CurrentUser, connection: Writer) -> Response:
    """Replace title, content and published of one's own post."""
    return answers.written(await service.change(connection, post_id=post_id, changes=post.model_dump(), caller=caller))


@router.patch("/{post_id}", response_model=PostPublic, responses=_owner_only)
async def update_post(post_id: PostId, post: PostUpdate, caller: CurrentUser, connection: Writer) -> Response:
    """Change some of title, content and published of one's own post."""
    return answers.written(await service.change(connection, post_id=post_id, changes=post.changes, caller=caller))


@router.delete("/{post_id}", status_code=204, responses=_owner_only)
async def delete_post(post_id: PostId, caller: CurrentUser, connection: Writer) -> None:
    """Delete one's own post with its votes; admins may delete anyone's published post."""
    await service.remove(connection, post_id=post_id, caller=caller)
