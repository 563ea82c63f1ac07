"""Reading and writing posts."""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Depends, Path, Query, Response
from kpi_shared.cursors import InvalidCursorError
from kpi_shared.database import MAX_ID, AnyRow, Reader, Writer
from kpi_shared.errors import UnauthenticatedError
from kpi_shared.openapi import problems
from kpi_shared.security import CurrentUser, OptionalUser

from kpi_content.posts import repository, service
from kpi_content.posts.cursors import CursorCodec
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


@router.get("", responses=problems(UnauthenticatedError, InvalidCursorError))
async def list_posts(
    asked: Annotated[_Asked, Depends(_asked)], cursors: Cursors, connection: Reader
) -> CountedPostPage | PostPage:
    """The published posts, or one's own, page by page; someone's drafts are in their own list only."""
    query, listing, after = asked
    rows = await repository.page(connection, listing=listing, limit=query.limit + 1, skip=query.skip, after=after)
    page = _page(rows, limit=query.limit, listing=listing, cursors=cursors)
    if not query.total:
        return page
    total = await repository.count(connection, listing=listing)
    return CountedPostPage(items=page.items, next=page.next, total=total)


@router.get("/{post_id}", responses=problems(UnauthenticatedError, PostNotFoundError))
async def get_post(post_id: PostId, caller: OptionalUser, connection: Reader) -> PostPublic:
    """A published post, or a draft of one's own."""
    caller_id = caller.id if caller else None
    return _shown(await repository.get_or_raise(connection, post_id=post_id, caller_id=caller_id))


@router.post("", status_code=201, responses=problems(UnauthenticatedError))
async def create_post(post: PostCreate, caller: CurrentUser, connection: Writer, response: Response) -> PostPublic:
    """Write a post; with ``published`` false it is a draft that only its owner sees."""
    row = await service.create(connection, post=post, caller=caller)
    response.headers["Location"] = f"/posts/{row.id}"
    return _shown(row)


@router.put("/{post_id}", responses=_owner_only)
async def replace_post(post_id: PostId, post: PostCreate, caller: CurrentUser, connection: Writer) -> PostPublic:
    """Replace title, content and published of one's own post."""
    return _shown(await service.change(connection, post_id=post_id, changes=post.model_dump(), caller=caller))


@router.patch("/{post_id}", responses=_owner_only)
async def update_post(post_id: PostId, post: PostUpdate, caller: CurrentUser, connection: Writer) -> PostPublic:
    """Change some of title, content and published of one's own post."""
    return _shown(await service.change(connection, post_id=post_id, changes=post.changes, caller=caller))


@router.delete("/{post_id}", status_code=204, responses=_owner_only)
async def delete_post(post_id: PostId, caller: CurrentUser, connection: Writer) -> None:
    """Delete one's own post with its votes; admins may delete anyone's published post."""
    await service.remove(connection, post_id=post_id, caller=caller)


def _page(rows: Sequence[AnyRow], *, limit: int, listing: Listing, cursors: CursorCodec) -> PostPage:
    """The first ``limit`` rows; one more of them says that there is a next page."""
    items = [_shown(row) for row in rows[:limit]]
    if len(rows) <= limit:
        return PostPage(items=items, next=None)
    last = rows[limit - 1]
    return PostPage(items=items, next=cursors.encode(Position(last.sort_key, last.id), listing))


def _shown(row: AnyRow) -> PostPublic:
    owner = {"id": row.owner_id, "username": row.username}
    return PostPublic.model_validate(row._asdict() | {"owner": owner})
