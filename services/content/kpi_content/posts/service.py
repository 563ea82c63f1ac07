"""Writing posts: who may, and what follows from it."""

from collections.abc import Mapping
from typing import Any

from kpi_shared.caller import Subject
from kpi_shared.errors import ProblemError
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_content.posts import repository
from kpi_content.posts.errors import NotYourPostError, PostNotFoundError
from kpi_content.posts.listing import PostRow


async def change(connection: AsyncConnection, *, post_id: int, changes: Mapping[str, Any], caller: Subject) -> PostRow:
    """Change a post of the caller's own, or PostNotFoundError or NotYourPostError."""
    row = await repository.change(connection, post_id=post_id, changes=changes, caller_id=caller.id)
    if row is None:
        raise await _refusal(connection, post_id=post_id, caller=caller)
    return row


async def remove(connection: AsyncConnection, *, post_id: int, caller: Subject) -> None:
    """Delete the caller's own post, or as an admin anyone's that is published."""
    if not await repository.remove(connection, post_id=post_id, caller_id=caller.id, is_admin=caller.is_admin):
        raise await _refusal(connection, post_id=post_id, caller=caller)


async def _refusal(connection: AsyncConnection, *, post_id: int, caller: Subject) -> ProblemError:
    """Why nothing was written: whoever may see the post learns that it is not theirs, others that it is not there."""
    seen = await repository.exists(connection, post_id=post_id, caller_id=caller.id)
    return NotYourPostError() if seen else PostNotFoundError()
