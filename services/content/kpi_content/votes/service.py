"""Voting."""

from kpi_shared.caller import Subject
from kpi_shared.database import DirectConnection

from kpi_content.posts.errors import PostNotFoundError
from kpi_content.votes import repository
from kpi_content.votes.schemas import VoteCast


async def vote(connection: DirectConnection, *, cast: VoteCast, caller: Subject, hides_deleted: bool = False) -> int:
    """Cast or retract the caller's vote, and return the post's count; PostNotFoundError if they see no such post."""
    write = repository.cast if cast.direction else repository.retract
    votes = await write(connection, post_id=cast.post_id, user_id=caller.id, hides_deleted=hides_deleted)
    if votes is None:
        raise PostNotFoundError
    return votes
