"""A vote, and what becomes of the post's count."""

from typing import Annotated, Literal

from kpi_shared.database import MAX_ID
from pydantic import BeforeValidator, Strict
from pydantic_core import PydanticCustomError
from sqlmodel import Field, SQLModel


def _refuse_booleans(value: object) -> object:
    """To Python, True is the integer 1; to whoever sends it, it is not."""
    if isinstance(value, bool):
        raise PydanticCustomError("direction", "Input should be 0 or 1, not a boolean")
    return value


Direction = Annotated[
    Literal[0, 1],
    BeforeValidator(_refuse_booleans),
    Field(description="1 votes for the post, 0 takes the vote back"),
]


class VoteCast(SQLModel):
    model_config = {"extra": "forbid"}

    post_id: Annotated[int, Strict(), Field(ge=1, le=MAX_ID)]
    direction: Direction


class VotePublic(SQLModel):
    """What the caller's vote is now, and how many votes the post has with it."""

    post_id: int
    direction: Direction
    votes: int
