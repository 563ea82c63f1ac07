"""The bodies of requests and responses about votes."""

from typing import Annotated, Literal

from kpi_shared.database import MAX_ID
from pydantic import BeforeValidator, Strict
from pydantic_core import PydanticCustomError
from sqlmodel import Field, SQLModel


def _refuse_booleans(value: object) -> object:
    """In Python, True equals the integer 1; in JSON, the two are different values."""
    if isinstance(value, bool):
        raise PydanticCustomError("direction", "Input should be 0 or 1, not a boolean")
    return value


Direction = Annotated[
    Literal[0, 1],
    BeforeValidator(_refuse_booleans),
    Field(description="1 votes for the post, 0 takes the vote back"),
]


class VoteCast(SQLModel):
    model_config = {"extra": "forbid", "json_schema_extra": {"examples": [{"post_id": 1, "direction": 1}]}}

    post_id: Annotated[int, Strict(), Field(ge=1, le=MAX_ID)]
    direction: Direction


class VotePublic(SQLModel):
    """The caller's vote as it is now, and the number of votes for the post."""

    post_id: int
    direction: Direction
    votes: int
