"""A vote as the bytes of a response body."""

from fastapi import Response
from pydantic_core import to_json

from kpi_content.votes.schemas import VoteCast


def vote_response(cast: VoteCast, *, votes: int) -> Response:
    """The fields of VotePublic, without the validation that FastAPI would do."""
    body = to_json({"post_id": cast.post_id, "direction": cast.direction, "votes": votes})
    return Response(body, media_type="application/json")
