"""The bodies of requests and responses about messages."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.config import JsonDict

from kpi_content.authors.schemas import AuthorPublic
from kpi_content.messages.metadata import Metadata
from kpi_content.messages.models import MAX_CONTENT, MessageRole

Content = Annotated[str, StringConstraints(min_length=1, max_length=MAX_CONTENT, pattern=r"^[^\x00]*$")]
_EXAMPLE: JsonDict = {"role": "user", "content": "How do bees tell the way?", "metadata": {"client": "web"}}


class MessageCreate(BaseModel):
    """All fields of a message that its author writes."""

    # No SQLModel, whose own attribute has the name of a field.
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    role: MessageRole = MessageRole.USER
    content: Content
    metadata: Metadata | None = None


# The one list of a message's public fields.
class MessagePublic(BaseModel):
    id: int
    conversation_id: int
    number: Annotated[int, Field(description="The place in the conversation: 1, 2, 3; never given twice")]
    role: MessageRole
    content: str
    metadata: dict[str, Any] | None
    created_at: datetime
    interrupted: Annotated[bool, Field(description="Whether its upload ended before its end")]
    author: AuthorPublic
