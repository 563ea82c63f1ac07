"""The SQL of votes: one statement for each direction changes the vote and the post's count together.

Each statement locks the post first. So concurrent votes on one post queue at its start, a vote and a deletion of its
post cannot deadlock, and the count that is returned is the latest one. See docs/adr/0008.
"""

from functools import cache
from operator import itemgetter
from typing import Any

from kpi_shared.database import DirectConnection
from kpi_shared.database.statements import Statement
from sqlalchemy import CTE, BigInteger, Select, bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col

from kpi_content.posts.repository import add_to_votes, lock_visible_post
from kpi_content.votes.models import Vote

_user = bindparam("user_id", type_=BigInteger)


def _count_after(post: CTE, changed: CTE, step: int) -> Select[Any]:
    """The post's count, changed by ``step`` if a vote was changed; no row if the user sees no such post."""
    counted = add_to_votes(changed, step)
    return select(func.coalesce(select(counted.c.votes).scalar_subquery(), post.c.votes).label("votes"))


@cache
def _cast(*, hides_deleted: bool) -> Statement[int]:
    post = lock_visible_post(_user, hides_deleted=hides_deleted)
    added = insert(Vote).from_select(["post_id", "user_id"], select(post.c.id, _user)).on_conflict_do_nothing()
    return Statement(_count_after(post, added.returning(col(Vote.post_id)).cte("changed"), +1), itemgetter(0))


@cache
def _retract(*, hides_deleted: bool) -> Statement[int]:
    post = lock_visible_post(_user, hides_deleted=hides_deleted)
    removed = delete(Vote).where(col(Vote.post_id) == post.c.id, col(Vote.user_id) == _user)
    return Statement(_count_after(post, removed.returning(col(Vote.post_id)).cte("changed"), -1), itemgetter(0))


async def cast(connection: DirectConnection, *, post_id: int, user_id: int, hides_deleted: bool) -> int | None:
    """Add the vote unless it exists; the post's count, or None if the user sees no such post."""
    return await _cast(hides_deleted=hides_deleted).one_or_none(connection, {"post_id": post_id, "user_id": user_id})


async def retract(connection: DirectConnection, *, post_id: int, user_id: int, hides_deleted: bool) -> int | None:
    """Remove the vote if it exists; the post's count, or None if the user sees no such post."""
    return await _retract(hides_deleted=hides_deleted).one_or_none(connection, {"post_id": post_id, "user_id": user_id})
