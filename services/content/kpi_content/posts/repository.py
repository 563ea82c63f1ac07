"""The SQL of posts. Statements are built once for each shape; each call only binds its values."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from kpi_shared.database import AnyRow
from sqlalchemy import (
    CTE,
    Boolean,
    ColumnElement,
    Integer,
    Select,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from kpi_content.authors.models import Author
from kpi_content.posts.errors import PostNotFoundError
from kpi_content.posts.listing import Listing, Position, Sort
from kpi_content.posts.models import Post
from kpi_content.posts.schemas import PostCreate
from kpi_content.posts.search import parse_search

_shown = (
    col(Post.id),
    col(Post.title),
    col(Post.content),
    col(Post.published),
    col(Post.date),
    col(Post.updated_at),
    col(Post.votes),
    col(Post.owner_id),
)
_columns = Post.__table__.c  # type: ignore[attr-defined]
_sort_keys: dict[Sort, ColumnElement[Any]] = {
    Sort.NEW: _columns.date,
    Sort.TOP: _columns.votes,
    Sort.HOT: _columns.hot,
}


def visible_to(user: ColumnElement[Any]) -> ColumnElement[bool]:
    """Someone else's draft does not exist for a user; ``user`` is NULL where nobody is signed in."""
    return or_(col(Post.published), col(Post.owner_id) == user)


def _with_owner(written: CTE) -> Select[*tuple[Any, ...]]:
    return select(written, col(Author.username)).join(Author, col(Author.id) == written.c.owner_id)


_caller = bindparam("caller", type_=_columns.owner_id.type)
_get = (
    select(*_shown, col(Author.username))
    .join(Author, col(Author.id) == col(Post.owner_id))
    .where(col(Post.id) == bindparam("post_id"), visible_to(_caller))
)
_exists = select(col(Post.id)).where(col(Post.id) == bindparam("post_id"), visible_to(_caller))
_add = _with_owner(
    insert(Post)
    .values({name: bindparam(name) for name in ("owner_id", "title", "content", "published")})
    .returning(*_shown)
    .cte("written")
)


def _or_as_it_is(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.coalesce(bindparam(f"new_{column.key}", type_=column.type), column)


_change = _with_owner(
    update(Post)
    .where(col(Post.id) == bindparam("post_id"), col(Post.owner_id) == _caller)
    .values(
        title=_or_as_it_is(_columns.title),
        content=_or_as_it_is(_columns.content),
        published=_or_as_it_is(_columns.published),
        # Later than any earlier moment of the same transaction too.
        updated_at=func.clock_timestamp(),
    )
    .returning(*_shown)
    .cte("written")
)
_remove = (
    delete(Post)
    .where(
        col(Post.id) == bindparam("post_id"),
        or_(col(Post.owner_id) == _caller, and_(bindparam("is_admin", type_=Boolean), col(Post.published))),
    )
    .returning(col(Post.id))
)


# SearchTerms as one tsquery, in which an empty part leaves the others as they are.
_matches = text("""
    posts.search @@ (
        plainto_tsquery('english', :words)
        && to_tsquery('simple', :phrases)
        && (plainto_tsquery('english', :last_word) || to_tsquery('simple', :last_prefix))
        && !! (to_tsquery('english', :excluded) || to_tsquery('simple', :excluded))
    )
""")


def _filter(*, search: bool, mine: bool) -> ColumnElement[bool]:
    whose = col(Post.owner_id) == bindparam("owner") if mine else col(Post.published)
    return and_(whose, _matches) if search else and_(whose)


@cache
def page_statement(*, sort: Sort, search: bool, mine: bool, after: bool) -> Select[*tuple[Any, ...]]:
    """One page of a list, by keyset: ``after`` continues behind the position (key, last_id)."""
    key = _sort_keys[sort]
    statement = (
        select(*_shown, col(Author.username), key.label("sort_key"))
        .join(Author, col(Author.id) == col(Post.owner_id))
        .where(_filter(search=search, mine=mine))
        .order_by(key.desc(), col(Post.id).desc())
        .limit(bindparam("limit", type_=Integer))
    )
    if after:
        last = tuple_(bindparam("key", type_=key.type), bindparam("last_id", type_=_columns.id.type))
        return statement.where(tuple_(key, col(Post.id)) < last)
    return statement.offset(bindparam("skip", type_=Integer))


@cache
def _count_statement(*, search: bool, mine: bool) -> Select[int]:
    return select(func.count()).select_from(Post).where(_filter(search=search, mine=mine))


def _bound(listing: Listing) -> dict[str, Any]:
    terms = {} if listing.search is None else parse_search(listing.search)._asdict()
    return terms | ({} if listing.owner_id is None else {"owner": listing.owner_id})


async def page(
    connection: AsyncConnection, *, listing: Listing, limit: int, skip: int = 0, after: Position | None = None
) -> Sequence[AnyRow]:
    statement = page_statement(
        sort=listing.sort, search=listing.search is not None, mine=listing.owner_id is not None, after=after is not None
    )
    where = {"skip": skip} if after is None else {"key": after.key, "last_id": after.id}
    return (await connection.execute(statement, _bound(listing) | where | {"limit": limit})).all()


async def count(connection: AsyncConnection, *, listing: Listing) -> int:
    statement = _count_statement(search=listing.search is not None, mine=listing.owner_id is not None)
    return (await connection.execute(statement, _bound(listing))).scalar_one()


async def get(connection: AsyncConnection, *, post_id: int, caller_id: int | None) -> AnyRow | None:
    return (await connection.execute(_get, {"post_id": post_id, "caller": caller_id})).one_or_none()


async def get_or_raise(connection: AsyncConnection, *, post_id: int, caller_id: int | None) -> AnyRow:
    row = await get(connection, post_id=post_id, caller_id=caller_id)
    if row is None:
        raise PostNotFoundError
    return row


async def exists(connection: AsyncConnection, *, post_id: int, caller_id: int) -> bool:
    return (await connection.execute(_exists, {"post_id": post_id, "caller": caller_id})).one_or_none() is not None


async def add(connection: AsyncConnection, *, post: PostCreate, owner_id: int) -> AnyRow:
    return (await connection.execute(_add, post.model_dump() | {"owner_id": owner_id})).one()


async def change(
    connection: AsyncConnection, *, post_id: int, changes: Mapping[str, Any], caller_id: int
) -> AnyRow | None:
    """Change the caller's own post; None where they own no such post."""
    new = {f"new_{name}": changes.get(name) for name in ("title", "content", "published")}
    return (await connection.execute(_change, new | {"post_id": post_id, "caller": caller_id})).one_or_none()


async def remove(connection: AsyncConnection, *, post_id: int, caller_id: int, is_admin: bool) -> bool:
    values = {"post_id": post_id, "caller": caller_id, "is_admin": is_admin}
    return (await connection.execute(_remove, values)).one_or_none() is not None
