"""The bodies of requests and responses about messages."""

from datetime import datetime
from typing import Annotated, Any, Self

from kpi_shared.database import MAX_ID
from kpi_shared.integers import Decimal, Integer
from kpi_shared.text import WITHOUT_NUL, StorableText
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from kpi_content.authors.schemas import AuthorPublic
from kpi_content.conversations.schemas import Limit
from kpi_content.messages.filters import CURSOR_PATTERN, SEARCH_CURSOR_PATTERN, Position
from kpi_content.messages.metadata import Metadata
from kpi_content.messages.models import MAX_CONTENT, MessageRole
from kpi_content.search.schemas import Search, StreamSafe

Content = Annotated[StorableText, StringConstraints(min_length=1, max_length=MAX_CONTENT), WITHOUT_NUL, StreamSafe]
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
    interrupted: Annotated[bool, Field(description="Whether the upload was incomplete")]
    author: AuthorPublic


class MessagePage(BaseModel):
    """A page of messages, and the cursor of the next page in the same direction, or null on the last page.

    Where messages are long, a page that is not the last one has fewer of them than `limit`.
    """

    items: list[MessagePublic]
    next: str | None


_Number = Annotated[Decimal, Field(ge=0, le=MAX_ID)]


class MessageQuery(BaseModel):
    """The query parameters of the list of messages, which are always shown in ascending order of their numbers."""

    limit: Limit = 10
    after: Annotated[
        _Number | None,
        Field(description="The messages after this number; without after, before and cursor, from the first one on"),
    ] = None
    before: Annotated[
        _Number | None, Field(description="The messages before this number, from which the next pages go backwards")
    ] = None
    cursor: Annotated[
        str | None,
        StringConstraints(pattern=CURSOR_PATTERN),
        Field(description="The value of next on the previous page"),
    ] = None

    @model_validator(mode="after")
    def _require_one_start(self) -> Self:
        if [self.after, self.before, self.cursor].count(None) < 2:  # noqa: PLR2004 at least two of three
            raise PydanticCustomError("several_starts", "Only one of after, before and cursor may be given")
        return self

    @property
    def start(self) -> Position:
        """Where the list begins without a cursor."""
        return Position(False, self.after or 0) if self.before is None else Position(True, self.before)


class SearchQuery(BaseModel):
    """The query parameters of the search."""

    search: Annotated[
        Search,
        Field(
            description='Words, "quoted phrases" and -exclusions; the last word also matches as a prefix. Capitals and '
            "marks on letters make no difference. At most 32 words and 8 exclusions"
        ),
    ]
    conversation_id: Annotated[
        Annotated[Decimal, Field(ge=1, le=MAX_ID)] | None, Field(description="Only messages of this conversation")
    ] = None
    limit: Limit = 10
    cursor: Annotated[
        str | None,
        StringConstraints(pattern=SEARCH_CURSOR_PATTERN),
        Field(description="The value of next on the previous page"),
    ] = None


class ReadMark(BaseModel):
    """The messages up to this number have been read. A lower number than before marks messages as unread again."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"number": 0}]})

    number: Annotated[Integer, Field(ge=0, le=MAX_ID)]


class ReadState(BaseModel):
    """Your read mark, and the number of messages above it."""

    read_number: int
    unread: int
