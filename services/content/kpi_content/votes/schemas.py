"""A vote, and what becomes of the post's count."""

from typing import Annotated, Literal

from kpi_shared.database import MAX_ID
from sqlmodel import Field, SQLModel

# 1 votes for the post, 0 takes the vote back.
Direction = Annotated[Literal[0, 1], Field(description="1 votes for the post, 0 takes the vote back")]


class VoteCast(SQLModel, extra="forbid"):
    post_id: Annotated[int, Field(ge=1, le=MAX_ID)]
    direction: Direction


class VotePublic(SQLModel):
    """What the caller's vote is now, and how many votes the post has with it."""

    post_id: int
    direction: Direction
    votes: int
