"""Voting on posts."""

from fastapi import APIRouter, Response
from kpi_shared.database import DatabaseOfApp
from kpi_shared.errors import UnauthenticatedError
from kpi_shared.http.openapi import problems
from kpi_shared.security import CurrentUser
from pydantic_core import to_json

from kpi_content.posts.errors import PostNotFoundError
from kpi_content.votes import service
from kpi_content.votes.schemas import VoteCast, VotePublic

router = APIRouter(prefix="/votes", tags=["votes"])


@router.post("", response_model=VotePublic, responses=problems(UnauthenticatedError, PostNotFoundError))
async def vote(cast: VoteCast, caller: CurrentUser, database: DatabaseOfApp) -> Response:
    """Vote for a post, or take the vote back. Doing either twice is the same as once."""
    async with database.direct() as connection:
        votes = await service.vote(connection, cast=cast, caller=caller)
    body = to_json({"post_id": cast.post_id, "direction": cast.direction, "votes": votes})
    return Response(body, media_type="application/json")
