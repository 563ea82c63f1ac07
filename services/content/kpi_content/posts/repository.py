"""The SQL of posts. Statements are built once for each shape; each call only binds its values."""

from collections.abc import Mapping
from functools import cache
from operator import itemgetter
from typing import Any

from kpi_shared.caller import Subject
from kpi_shared.database import DirectConnection
from sqlalchemy import (
    CTE,
    Boolean,
    ColumnElement,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from kpi_content.authors.models import Author
from kpi_content.authors.repository import remembered
from kpi_content.posts.errors import PostNotFoundError
from kpi_content.posts.listing import ListedRow, Listing, Position, PostRow, Sort, Start
from kpi_content.posts.models import Post
from kpi_content.posts.schemas import PostCreate
from kpi_content.posts.search import parse_search
from kpi_content.statements import Statement

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
# How many rows a page asks for: 10 are the default and 100 the most, and one more says that there is a next page.
_SIZES = (11, 26, 51, 101)


def visible_to(user: ColumnElement[Any]) -> ColumnElement[bool]:
    """Someone else's draft does not exist for a user; ``user`` is NULL where nobody is signed in."""
    return or_(col(Post.published), col(Post.owner_id) == user)


def _with_owner(written: CTE) -> Select[*tuple[Any, ...]]:
    return select(written, col(Author.username)).join(Author, col(Author.id) == written.c.owner_id)


_caller = bindparam("caller", type_=_columns.owner_id.type)
_get = Statement(
    select(*_shown, col(Author.username))
    .join(Author, col(Author.id) == col(Post.owner_id))
    .where(col(Post.id) == bindparam("post_id"), visible_to(_caller)),
    PostRow._make,
)
_exists = select(col(Post.id)).where(col(Post.id) == bindparam("post_id"), visible_to(_caller))
_added = (
    insert(Post)
    .values({name: bindparam(name) for name in ("owner_id", "title", "content", "published")} | {"votes": 0})
    .returning(*_shown)
    .cte("added")
)
# PostgreSQL checks the foreign key at the end of the whole statement, when the author is there.
_add = Statement(
    select(_added, bindparam("username", type_=Text).label("username")).add_cte(_added, remembered()), PostRow._make
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
def page_statement(*, sort: Sort, search: bool, mine: bool, start: Start, size: int) -> Select[*tuple[Any, ...]]:
    """The first ``size`` rows of a list or of what is left of it, by keyset behind the position (key, last_id).

    The number of rows stands in the statement: the server then plans for so few once and for all.
    """
    key = _sort_keys[sort]
    statement = (
        select(*_shown, col(Author.username), key.label("sort_key"))
        .join(Author, col(Author.id) == col(Post.owner_id))
        .where(_filter(search=search, mine=mine))
        .order_by(key.desc(), col(Post.id).desc())
        .limit(literal_column(str(size)))
    )
    if start is Start.AFTER:
        last = tuple_(bindparam("key", type_=key.type), bindparam("last_id", type_=_columns.id.type))
        return statement.where(tuple_(key, col(Post.id)) < last)
    return statement if start is Start.FIRST else statement.offset(bindparam("skip", type_=Integer))


@cache
def _page(*, sort: Sort, search: bool, mine: bool, start: Start, size: int) -> Statement[ListedRow]:
    statement = page_statement(sort=sort, search=search, mine=mine, start=start, size=size)
    # How often the words come, how much someone wrote and how much is left out decide which index is right.
    is_prepared = not search and not mine and start is not Start.SKIP
    return Statement(statement, ListedRow._make, is_prepared=is_prepared)


@cache
def _count(*, search: bool, mine: bool) -> Statement[int]:
    counted = select(func.count()).select_from(Post).where(_filter(search=search, mine=mine))
    return Statement(counted, itemgetter(0), is_prepared=False)


def _bound(listing: Listing) -> dict[str, Any]:
    terms = {} if listing.search is None else parse_search(listing.search)._asdict()
    return terms | ({} if listing.owner_id is None else {"owner": listing.owner_id})


async def page(
    connection: DirectConnection, *, listing: Listing, limit: int, skip: int = 0, after: Position | None = None
) -> list[ListedRow]:
    """``limit`` rows, or all that there are; up to 100 and one."""
    start = Start.AFTER if after is not None else Start.SKIP if skip else Start.FIRST
    statement = _page(
        sort=listing.sort,
        search=listing.search is not None,
        mine=listing.owner_id is not None,
        start=start,
        size=next(size for size in _SIZES if size >= limit),
    )
    where = {"skip": skip} if after is None else {"key": after.key, "last_id": after.id}
    return (await statement.all(connection, _bound(listing) | where))[:limit]


async def count(connection: DirectConnection, *, listing: Listing) -> int:
    statement = _count(search=listing.search is not None, mine=listing.owner_id is not None)
    return await statement.one(connection, _bound(listing))


async def get(connection: DirectConnection, *, post_id: int, caller_id: int | None) -> PostRow | None:
    return await _get.one_or_none(connection, {"post_id": post_id, "caller": caller_id})


async def get_or_raise(connection: DirectConnection, *, post_id: int, caller_id: int | None) -> PostRow:
    row = await get(connection, post_id=post_id, caller_id=caller_id)
    if row is None:
        raise PostNotFoundError
    return row


async def exists(connection: AsyncConnection, *, post_id: int, caller_id: int) -> bool:
    return (await connection.execute(_exists, {"post_id": post_id, "caller": caller_id})).one_or_none() is not None


async def add(connection: DirectConnection, *, post: PostCreate, owner: Subject) -> PostRow:
    """A new post; the same statement remembers who wrote it."""
    return await _add.one(connection, post.model_dump() | {"owner_id": owner.id, "username": owner.username})


async def change(
    connection: AsyncConnection, *, post_id: int, changes: Mapping[str, Any], caller_id: int
) -> PostRow | None:
    """Change the caller's own post; None where they own no such post."""
    new = {f"new_{name}": changes.get(name) for name in ("title", "content", "published")}
    row = (await connection.execute(_change, new | {"post_id": post_id, "caller": caller_id})).one_or_none()
    return None if row is None else PostRow._make(row)


async def remove(connection: AsyncConnection, *, post_id: int, caller_id: int, is_admin: bool) -> bool:
    values = {"post_id": post_id, "caller": caller_id, "is_admin": is_admin}
    return (await connection.execute(_remove, values)).one_or_none() is not None
