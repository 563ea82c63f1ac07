"""Tables and schemas. The only indexes are those of primary keys and unique columns."""

from datetime import UTC, datetime
from enum import StrEnum

from sqlalchemy import DateTime
from sqlmodel import Field, SQLModel


def _now() -> datetime:
    return datetime.now(UTC)


class UserCreate(SQLModel):
    username: str = Field(min_length=3, max_length=32)
    email: str = Field(max_length=254)
    password: str = Field(min_length=8)


class User(SQLModel, table=True):
    __tablename__ = "users"

    id: int | None = Field(default=None, primary_key=True)
    username: str = Field(unique=True)
    email: str = Field(unique=True)
    password_hash: str
    created_at: datetime = Field(default_factory=_now, sa_type=DateTime(timezone=True))


class UserPublic(SQLModel):
    id: int
    username: str


class PostCreate(SQLModel):
    title: str = Field(min_length=1, max_length=300)
    content: str = Field(max_length=40_000)
    published: bool = True


class Post(SQLModel, table=True):
    __tablename__ = "posts"

    id: int | None = Field(default=None, primary_key=True)
    title: str
    content: str
    published: bool = True
    date: datetime = Field(default_factory=_now, sa_type=DateTime(timezone=True))
    updated_at: datetime = Field(default_factory=_now, sa_type=DateTime(timezone=True))
    owner_id: int | None = Field(nullable=False, foreign_key="users.id", ondelete="CASCADE")


class PostPublic(SQLModel):
    id: int
    title: str
    content: str
    published: bool
    date: datetime
    updated_at: datetime
    votes: int
    owner: UserPublic


class PostPage(SQLModel):
    items: list[PostPublic]


class Vote(SQLModel, table=True):
    """The post is first in the key, so that the key's index finds the votes of a post."""

    __tablename__ = "votes"

    post_id: int = Field(primary_key=True, foreign_key="posts.id", ondelete="CASCADE")
    user_id: int | None = Field(primary_key=True, foreign_key="users.id", ondelete="CASCADE")


class VoteCreate(SQLModel):
    post_id: int
    direction: int = Field(ge=0, le=1)


class Sort(StrEnum):
    NEW = "new"
    TOP = "top"
    HOT = "hot"


class Tokens(SQLModel):
    access_token: str
    refresh_token: str
    token_type: str


class RefreshRequest(SQLModel):
    refresh_token: str
