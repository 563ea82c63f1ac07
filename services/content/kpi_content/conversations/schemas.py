"""The bodies of requests and responses about conversations."""

from datetime import datetime
from typing import Annotated

from kpi_shared.text import OneLine
from pydantic import BaseModel, Field, StringConstraints
from sqlmodel import SQLModel

from kpi_content.authors.schemas import AuthorPublic
from kpi_content.conversations.models import MAX_TITLE, MemberRole

Title = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TITLE), OneLine()]


class ConversationCreate(SQLModel):
    model_config = {"extra": "forbid", "json_schema_extra": {"examples": [{"title": "Of bees"}]}}

    title: Title


# The one list of a conversation's public fields. Each but ``owner``, ``role``, ``read_number`` and ``unread`` is named
# after a column of the conversations table.
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
