"""The bodies of requests and responses about votes."""

from typing import Annotated, Literal

from kpi_shared.database import MAX_ID
from kpi_shared.integers import Integer, require_integer
from pydantic import BeforeValidator
from sqlmodel import Field, SQLModel

Direction = Annotated[
    Literal[0, 1],
    BeforeValidator(require_integer),
    Field(description="1 votes for the post, 0 takes the vote back"),
]


class VoteCast(SQLModel):
    model_config = {"extra": "forbid", "json_schema_extra": {"examples": [{"post_id": 1, "direction": 1}]}}

    post_id: Annotated[Integer, Field(ge=1, le=MAX_ID)]
    direction: Direction


class VotePublic(SQLModel):
    """The caller's vote as it is now, and the number of votes for the post."""

    post_id: int
    direction: Direction
    votes: int
