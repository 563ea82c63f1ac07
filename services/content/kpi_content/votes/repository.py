"""The SQL of votes: one statement for each direction changes the row and the post's count together.

Each statement locks the post first. So the votes on one post queue there and not half-way, a vote and a deletion
of its post cannot wait for each other, and the count that is read is the newest one. See docs/adr/0008.
"""

from operator import itemgetter
from typing import Any

from kpi_shared.database import DirectConnection
from sqlalchemy import CTE, BigInteger, Select, bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlmodel import col

from kpi_content.posts.models import Post
from kpi_content.posts.repository import visible_to
from kpi_content.statements import Statement
from kpi_content.votes.models import Vote

_user = bindparam("user_id", type_=BigInteger)
_post = (
    select(col(Post.id), col(Post.votes))
    .where(col(Post.id) == bindparam("post_id"), visible_to(_user))
    .with_for_update(key_share=True)
    .cte("post")
)


def _counted(changed: CTE, step: int) -> Select[Any]:
    """The post's count, moved by ``step`` if a vote was changed; no row if there is no such post."""
    moved = (
        update(Post)
        .where(col(Post.id) == changed.c.post_id)
        # The latest committed count, not the one that the statement began with: PostgreSQL reads the row
        # again after it waited for it.
        .values(votes=Post.votes + step)
        .returning(col(Post.votes))
        .cte("moved")
    )
    return select(func.coalesce(select(moved.c.votes).scalar_subquery(), _post.c.votes).label("votes"))


_cast = Statement(
    _counted(
        insert(Vote)
        .from_select(["post_id", "user_id"], select(_post.c.id, _user))
        .on_conflict_do_nothing()
        .returning(col(Vote.post_id))
        .cte("changed"),
        +1,
    ),
    itemgetter(0),
)
_retract = Statement(
    _counted(
        delete(Vote)
        .where(col(Vote.post_id) == _post.c.id, col(Vote.user_id) == _user)
        .returning(col(Vote.post_id))
        .cte("changed"),
        -1,
    ),
    itemgetter(0),
)


async def cast(connection: DirectConnection, *, post_id: int, user_id: int) -> int | None:
    """Vote, unless it was done before; the post's count, or None where the user sees no such post."""
    return await _cast.one_or_none(connection, {"post_id": post_id, "user_id": user_id})


async def retract(connection: DirectConnection, *, post_id: int, user_id: int) -> int | None:
    """Take a vote back, if there is one; the post's count, or None where the user sees no such post."""
    return await _retract.one_or_none(connection, {"post_id": post_id, "user_id": user_id})
