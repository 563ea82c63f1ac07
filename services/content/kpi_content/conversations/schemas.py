"""The bodies of requests and responses about conversations and their members."""

from datetime import datetime
from typing import Annotated, Self

from kpi_shared.database import MAX_ID
from kpi_shared.integers import Decimal, Integer
from kpi_shared.text import OneLine
from pydantic import BaseModel, Field, StringConstraints, model_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError
from sqlmodel import SQLModel

from kpi_content.authors.schemas import AuthorPublic
from kpi_content.conversations.filters import CURSOR_PATTERN, MEMBER_CURSOR_PATTERN
from kpi_content.conversations.models import MAX_TITLE, MemberRole

MAX_USERNAME = 255

Title = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TITLE), OneLine()]
Limit = Annotated[Decimal, Field(ge=1, le=100, description="The maximum number of items on a page")]


class ConversationCreate(SQLModel):
    """All fields of a conversation that its owner writes."""

    model_config = {"extra": "forbid", "json_schema_extra": {"examples": [{"title": "Of bees"}]}}

    title: Title


class ConversationUpdate(SQLModel):
    """A new title."""

    model_config = {"extra": "forbid", "json_schema_extra": {"examples": [{"title": "Of bees and wasps"}]}}

    title: Title


# The one list of a conversation's public fields. Those before ``owner`` are named after columns of the table.
class ConversationPublic(BaseModel):
    """A conversation as one of its members sees it."""

    id: int
    title: str
    created_at: datetime
    updated_at: Annotated[datetime, Field(description="When the title was last changed")]
    last_number: Annotated[int, Field(description="The newest number that a message has got; 0 before the first")]
    message_count: int
    last_message_at: Annotated[datetime | None, Field(description="The time of the last message; null without any")]
    last_excerpt: Annotated[str | None, Field(description="The beginning of the last message; null without any")]
    owner: AuthorPublic
    role: Annotated[MemberRole, Field(description="Your own role")]
    read_number: Annotated[int, Field(description="You have read the messages up to this number")]
    unread: Annotated[int, Field(description="The number of messages that you have not read")]


class ConversationPage(BaseModel):
    """A page of conversations, and the cursor of the next page, or null on the last page."""

    items: list[ConversationPublic]
    next: str | None


class ConversationQuery(BaseModel):
    """The query parameters of the list of conversations."""

    limit: Limit = 10
    cursor: Annotated[
        str | None,
        StringConstraints(pattern=CURSOR_PATTERN),
        Field(description="The value of next on the previous page"),
    ] = None


_MEMBER_EXAMPLES: list[JsonDict] = [{"username": "bert", "role": "writer"}, {"user_id": 2, "role": "reader"}]


class MemberAdd(SQLModel):
    """An account, by its id or its name, and what it may do."""

    model_config = {"extra": "forbid", "json_schema_extra": {"examples": _MEMBER_EXAMPLES}}  # type: ignore[dict-item]

    user_id: Annotated[Integer, Field(ge=1, le=MAX_ID)] | None = None
    username: Annotated[str, StringConstraints(min_length=1, max_length=MAX_USERNAME), OneLine()] | None = None
    role: MemberRole

    @model_validator(mode="after")
    def _require_one(self) -> Self:
        if (self.user_id is None) == (self.username is None):
            raise PydanticCustomError("account", "Exactly one of user_id and username is required")
        return self


class MemberUpdate(SQLModel):
    """A new role."""

    model_config = {"extra": "forbid", "json_schema_extra": {"examples": [{"role": "reader"}]}}

    role: MemberRole


class MemberPublic(BaseModel):
    user: AuthorPublic
    role: MemberRole
    joined_at: datetime
    read_number: Annotated[int, Field(description="The member has read the messages up to this number")]


class MemberPage(BaseModel):
    """A page of members, and the cursor of the next page, or null on the last page."""

    items: list[MemberPublic]
    next: str | None


class MemberQuery(BaseModel):
    """The query parameters of the list of members."""

    limit: Limit = 10
    cursor: Annotated[
        str | None,
        StringConstraints(pattern=MEMBER_CURSOR_PATTERN),
        Field(description="The value of next on the previous page"),
    ] = None
