"""The SQL of posts. A statement is built once for each shape; a request only binds its values."""

from collections.abc import Mapping
from functools import cache
from operator import itemgetter
from typing import Any

from kpi_shared.caller import Subject
from kpi_shared.database import DirectConnection
from kpi_shared.database.statements import Statement
from kpi_shared.paging import MAX_TOTAL, PAGE_SIZES, Start, Total
from sqlalchemy import (
    CTE,
    Boolean,
    ColumnElement,
    Integer,
    Select,
    Text,
    and_,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningDelete
from sqlmodel import col

from kpi_content.authors.repository import author_name, has_account, is_not_deleted, join_author, remember_author
from kpi_content.posts.errors import PostNotFoundError
from kpi_content.posts.filters import Position, PostFilter, Sort
from kpi_content.posts.models import Post
from kpi_content.posts.rows import COLUMNS, ListedRow, PostRow, make_listed_post, make_post
from kpi_content.posts.schemas import PostCreate
from kpi_content.search.repository import matches
from kpi_content.search.terms import parse_search

_columns = Post.__table__.c  # type: ignore[attr-defined]
# Where a post stands in the order of time; the expression of the indexes.
_listed_at = func.coalesce(_columns.published_at, _columns.date)
_first_published = case((_columns.published, _listed_at), else_=_columns.published_at).label("published_at")
# What a row of a post is made of; the author's username follows.
_shown = (*(_first_published if name == "published_at" else _columns[name] for name in COLUMNS), _columns.owner_id)
# What the author of a post writes.
_WRITTEN = tuple(PostCreate.model_fields)
_sort_keys: dict[Sort, ColumnElement[Any]] = {
    Sort.NEW: _listed_at,
    Sort.TOP: _columns.votes,
    Sort.HOT: _columns.hot,
}


def visible_to(user: ColumnElement[Any], *, hides_deleted: bool) -> ColumnElement[bool]:
    """Another user's draft does not exist for a caller; ``user`` is NULL for a request without a token.

    With ``hides_deleted``, neither do the posts of deleted accounts.
    """
    return _unless_hidden(or_(col(Post.published), col(Post.owner_id) == user), hides_deleted=hides_deleted)


def _unless_hidden(condition: ColumnElement[bool], *, hides_deleted: bool) -> ColumnElement[bool]:
    return and_(condition, has_account(_columns.owner_id)) if hides_deleted else condition


def _with_author(written: CTE) -> Select[*tuple[Any, ...]]:
    return join_author(select(written, author_name), written.c.owner_id)


_post_id = col(Post.id) == bindparam("post_id")
_caller = bindparam("caller", type_=_columns.owner_id.type)


@cache
def _get(*, hides_deleted: bool) -> Statement[PostRow]:
    found = join_author(select(*_shown, author_name), col(Post.owner_id))
    return Statement(found.where(_post_id, visible_to(_caller, hides_deleted=hides_deleted)), make_post)


@cache
def _exists(*, hides_deleted: bool) -> Select[int | None]:
    return select(col(Post.id)).where(_post_id, visible_to(_caller, hides_deleted=hides_deleted))


_is_published = bindparam("published", type_=Boolean)
_added = (
    insert(Post)
    .values(
        {name: bindparam(name) for name in ("owner_id", *_WRITTEN)}
        | {"published": _is_published, "published_at": case((_is_published, func.now())), "votes": 0}
    )
    .returning(*_shown)
    .cte("added")
)
# PostgreSQL checks the foreign key at the end of the whole statement, when the author is there.
_add = Statement(
    select(_added, bindparam("username", type_=Text).label("username")).add_cte(_added, remember_author()), make_post
)


def lock_visible_post(user: ColumnElement[Any], *, hides_deleted: bool) -> CTE:
    """The post ``post_id`` with its votes, locked, as the first part of a statement that changes its votes."""
    post = select(col(Post.id), col(Post.votes)).where(_post_id, visible_to(user, hides_deleted=hides_deleted))
    return post.with_for_update(key_share=True).cte("post")


def add_to_votes(changed: CTE, step: int) -> CTE:
    """Change the count of the posts that ``changed.post_id`` names, as a part of the same statement."""
    return (
        update(Post)
        .where(col(Post.id) == changed.c.post_id)
        # This reads the latest committed count, not the one at the start of the statement: PostgreSQL reads the row
        # again after it has waited for the lock.
        .values(votes=Post.votes + step)
        .returning(col(Post.votes))
        .cte("counted")
    )


def _new_or_unchanged(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.coalesce(bindparam(f"new_{column.key}", type_=column.type), column)


_published_now = case((bindparam("new_published", type_=Boolean), func.statement_timestamp()))
_change = _with_author(
    update(Post)
    .where(_post_id, col(Post.owner_id) == _caller)
    .values(
        {name: _new_or_unchanged(_columns[name]) for name in _WRITTEN}
        | {
            "published_at": func.coalesce(_first_published.element, _published_now),
            # The time is later than any earlier one of the same transaction, too.
            "updated_at": func.clock_timestamp(),
        }
    )
    .returning(*_shown)
    .cte("written")
)
_may_remove = or_(col(Post.owner_id) == _caller, and_(bindparam("is_admin", type_=Boolean), col(Post.published)))


@cache
def _remove(*, hides_deleted: bool) -> ReturningDelete[tuple[int | None]]:
    may_remove = _unless_hidden(_may_remove, hides_deleted=hides_deleted)
    return delete(Post).where(_post_id, may_remove).returning(col(Post.id))


@cache
def _lock(*, hides_deleted: bool) -> Select[*tuple[Any, ...]]:
    """A second writer waits here, then reads the row again as the first has left it."""
    post = join_author(select(*_shown, author_name), col(Post.owner_id))
    may_remove = _unless_hidden(_may_remove, hides_deleted=hides_deleted)
    return post.where(_post_id, may_remove).with_for_update(of=Post, key_share=True)


_matches = matches("posts.search")


def _condition(*, search: bool, mine: bool) -> ColumnElement[bool]:
    whose = col(Post.owner_id) == bindparam("owner") if mine else col(Post.published)
    return and_(whose, _matches) if search else and_(whose)


@cache
def page_statement(
    *, sort: Sort, search: bool, mine: bool, start: Start, size: int, hides_deleted: bool = False
) -> Select[*tuple[Any, ...]]:
    """The first ``size`` rows of a list, of what follows skipped rows, or of what follows the position (key, last_id).

    The number of rows is a part of the statement, so that the server makes one plan for that few rows and keeps it.
    """
    key = _sort_keys[sort]
    statement = (
        join_author(select(*_shown, author_name, key.label("sort_key")), col(Post.owner_id))
        .where(_condition(search=search, mine=mine))
        .order_by(key.desc(), col(Post.id).desc())
        .limit(literal_column(str(size)))
    )
    if hides_deleted:
        statement = statement.where(is_not_deleted)
    if start is Start.AFTER:
        last = tuple_(bindparam("key", type_=key.type), bindparam("last_id", type_=_columns.id.type))
        return statement.where(tuple_(key, col(Post.id)) < last)
    return statement if start is Start.FIRST else statement.offset(bindparam("skip", type_=Integer))


@cache
def _page(
    *, sort: Sort, search: bool, mine: bool, start: Start, size: int, hides_deleted: bool
) -> Statement[ListedRow]:
    statement = page_statement(sort=sort, search=search, mine=mine, start=start, size=size, hides_deleted=hides_deleted)
    # Which index is right depends on how frequent the words are, how much the owner wrote and how much is skipped.
    is_prepared = not search and not mine and start is not Start.SKIP
    return Statement(statement, make_listed_post, is_prepared=is_prepared)


@cache
def _count(*, search: bool, mine: bool, hides_deleted: bool) -> Statement[int]:
    listed = _unless_hidden(_condition(search=search, mine=mine), hides_deleted=hides_deleted)
    some = select(col(Post.id)).where(listed).limit(literal_column(str(MAX_TOTAL + 1)))
    counted = select(func.count()).select_from(some.subquery())
    return Statement(counted, itemgetter(0), is_prepared=False)


def _bind(post_filter: PostFilter) -> dict[str, Any]:
    terms = {} if post_filter.search is None else parse_search(post_filter.search)._asdict()
    return terms | ({} if post_filter.owner_id is None else {"owner": post_filter.owner_id})


async def get_page(
    connection: DirectConnection, *, post_filter: PostFilter, limit: int, skip: int = 0, after: Position | None = None
) -> list[ListedRow]:
    """``limit`` rows, which is 101 at most, or all if there are fewer."""
    start = Start.AFTER if after is not None else Start.SKIP if skip else Start.FIRST
    statement = _page(
        sort=post_filter.sort,
        search=post_filter.search is not None,
        mine=post_filter.owner_id is not None,
        start=start,
        size=next(size for size in PAGE_SIZES if size >= limit),
        hides_deleted=post_filter.hides_deleted,
    )
    where = {"skip": skip} if after is None else {"key": after.key, "last_id": after.id}
    return (await statement.all(connection, _bind(post_filter) | where))[:limit]


async def count(connection: DirectConnection, *, post_filter: PostFilter) -> Total:
    statement = _count(
        search=post_filter.search is not None,
        mine=post_filter.owner_id is not None,
        hides_deleted=post_filter.hides_deleted,
    )
    return Total.of(await statement.one(connection, _bind(post_filter)))


async def get(
    connection: DirectConnection, *, post_id: int, caller_id: int | None, hides_deleted: bool = False
) -> PostRow | None:
    statement = _get(hides_deleted=hides_deleted)
    return await statement.one_or_none(connection, {"post_id": post_id, "caller": caller_id})


async def get_or_raise(
    connection: DirectConnection, *, post_id: int, caller_id: int | None, hides_deleted: bool
) -> PostRow:
    row = await get(connection, post_id=post_id, caller_id=caller_id, hides_deleted=hides_deleted)
    if row is None:
        raise PostNotFoundError
    return row


async def exists(connection: AsyncConnection, *, post_id: int, caller_id: int, hides_deleted: bool) -> bool:
    statement = _exists(hides_deleted=hides_deleted)
    return (await connection.execute(statement, {"post_id": post_id, "caller": caller_id})).one_or_none() is not None


async def add(connection: DirectConnection, *, post: PostCreate, owner: Subject) -> PostRow:
    """Add a post; the same statement adds or renames its author."""
    author = {"owner_id": owner.id, "username": owner.username, "version": owner.account_version or 0}
    return await _add.one(connection, post.model_dump() | author)


async def change(
    connection: AsyncConnection, *, post_id: int, changes: Mapping[str, Any], caller_id: int
) -> PostRow | None:
    """Change a post of the caller's own; None if the caller owns no such post."""
    new = {f"new_{name}": changes.get(name) for name in _WRITTEN}
    row = (await connection.execute(_change, new | {"post_id": post_id, "caller": caller_id})).one_or_none()
    return None if row is None else make_post(row)


async def lock(
    connection: AsyncConnection, *, post_id: int, caller_id: int, is_admin: bool, hides_deleted: bool
) -> PostRow | None:
    """The post as it stays until the end of the transaction; None where ``remove`` would find none."""
    values = {"post_id": post_id, "caller": caller_id, "is_admin": is_admin}
    row = (await connection.execute(_lock(hides_deleted=hides_deleted), values)).one_or_none()
    return None if row is None else make_post(row)


async def remove(
    connection: AsyncConnection, *, post_id: int, caller_id: int, is_admin: bool, hides_deleted: bool
) -> bool:
    values = {"post_id": post_id, "caller": caller_id, "is_admin": is_admin}
    return (await connection.execute(_remove(hides_deleted=hides_deleted), values)).one_or_none() is not None
