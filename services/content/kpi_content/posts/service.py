"""Writing posts: who may do it, and which error the others get."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from kpi_shared.caller import Subject
from kpi_shared.database import DirectConnection
from kpi_shared.errors import ProblemError
from kpi_shared.http.conditional import Condition
from kpi_shared.records.responses import check_version
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_content.posts import repository
from kpi_content.posts.errors import NotYourPostError, PostNotFoundError
from kpi_content.posts.rows import PostRow
from kpi_content.posts.schemas import PostCreate


class _Right(NamedTuple):
    """Who writes, and which posts exist for them."""

    caller_id: int
    is_admin: bool
    hides_deleted: bool


async def create(connection: DirectConnection, *, post: PostCreate, caller: Subject) -> PostRow:
    return await repository.add(connection, post=post, owner=caller)


async def change(
    connection: AsyncConnection,
    *,
    post_id: int,
    changes: Mapping[str, Any],
    caller: Subject,
    condition: Condition | None = None,
    hides_deleted: bool = False,
) -> PostRow:
    """Change a post of the caller's own; PostNotFoundError or NotYourPostError if it is not.

    ChangedMeanwhileError if the condition names another version.
    """
    right = _Right(caller.id, is_admin=False, hides_deleted=hides_deleted)
    await _check_version(connection, condition, post_id=post_id, right=right)
    row = await repository.change(connection, post_id=post_id, changes=changes, caller_id=caller.id)
    if row is None:
        raise await _refusal(connection, post_id=post_id, right=right)
    return row


async def remove(
    connection: AsyncConnection,
    *,
    post_id: int,
    caller: Subject,
    condition: Condition | None = None,
    hides_deleted: bool = False,
) -> None:
    """Delete the caller's own post, or any published post if the caller is an admin; errors as above."""
    right = _Right(caller.id, is_admin=caller.is_admin, hides_deleted=hides_deleted)
    await _check_version(connection, condition, post_id=post_id, right=right)
    if not await repository.remove(connection, post_id=post_id, **right._asdict()):
        raise await _refusal(connection, post_id=post_id, right=right)


async def _check_version(
    connection: AsyncConnection, condition: Condition | None, *, post_id: int, right: _Right
) -> None:
    """Compare under the row's lock, so that of two writers with the same tag only one succeeds.

    A post that the caller may not write has no version here: the write itself finds the reason and the right error.
    """
    if condition is None:
        return
    row = await repository.lock(connection, post_id=post_id, **right._asdict())
    if row is not None:
        check_version(condition, row)


async def _refusal(connection: AsyncConnection, *, post_id: int, right: _Right) -> ProblemError:
    """A caller who may see the post learns that it belongs to another user; to all others it does not exist."""
    is_visible = await repository.exists(
        connection, post_id=post_id, caller_id=right.caller_id, hides_deleted=right.hides_deleted
    )
    return NotYourPostError() if is_visible else PostNotFoundError()
