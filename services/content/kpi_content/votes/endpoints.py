"""Voting on posts."""

from fastapi import APIRouter
from kpi_shared.database import Writer
from kpi_shared.errors import UnauthenticatedError
from kpi_shared.openapi import problems
from kpi_shared.security import CurrentUser

from kpi_content.posts.errors import PostNotFoundError
from kpi_content.votes import service
from kpi_content.votes.schemas import VoteCast, VotePublic

router = APIRouter(prefix="/votes", tags=["votes"])


@router.post("", responses=problems(UnauthenticatedError, PostNotFoundError))
async def vote(cast: VoteCast, caller: CurrentUser, connection: Writer) -> VotePublic:
    """Vote for a post, or take the vote back. Doing either twice is the same as once."""
    votes = await service.vote(connection, cast=cast, caller=caller)
    return VotePublic(post_id=cast.post_id, direction=cast.direction, votes=votes)
