"""Voting on posts."""

from fastapi import Request, Response
from kpi_shared.database import DatabaseOfApp
from kpi_shared.errors import UnauthenticatedError
from kpi_shared.http.media_types import Router
from kpi_shared.http.openapi import problems
from kpi_shared.security import WriteAccess

from kpi_content.posts.errors import PostNotFoundError
from kpi_content.votes import service
from kpi_content.votes.responses import vote_response
from kpi_content.votes.schemas import VoteCast, VotePublic

router = Router(prefix="/votes", tags=["votes"])


@router.post("", response_model=VotePublic, responses=problems(UnauthenticatedError, PostNotFoundError))
async def vote(request: Request, cast: VoteCast, caller: WriteAccess, database: DatabaseOfApp) -> Response:
    """Vote for a post, or take the vote back. Repeating a request changes nothing."""
    async with database.direct() as connection:
        votes = await service.vote(connection, cast=cast, caller=caller, hides_deleted=request.app.state.hides_deleted)
    return vote_response(cast, votes=votes)
