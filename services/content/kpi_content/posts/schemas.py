"""The bodies of requests and responses about posts."""

from datetime import datetime
from typing import Annotated

from kpi_shared.integers import Decimal
from kpi_shared.records.schemas import MAX_SKIP, Changes, CountedRowPage, RowPage, may_be_left_out
from kpi_shared.text import WITHOUT_NUL, OneLine, StorableText
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StringConstraints
from pydantic.config import JsonDict
from sqlmodel import SQLModel

from kpi_content.authors.schemas import AuthorPublic
from kpi_content.posts.filters import CURSOR_PATTERN, Sort
from kpi_content.posts.models import MAX_CONTENT, MAX_TITLE
from kpi_content.search.schemas import Search, StreamSafe

Title = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TITLE), OneLine(), StreamSafe]
Content = Annotated[StorableText, StringConstraints(max_length=MAX_CONTENT), WITHOUT_NUL, StreamSafe]


CursorText = Annotated[str, StringConstraints(pattern=CURSOR_PATTERN)]


_EXAMPLE: JsonDict = {"title": "How bees tell the way", "content": "They dance.", "published": True}


class PostCreate(SQLModel):
    """All fields of a post that its author writes."""

    model_config = {"extra": "forbid", "json_schema_extra": {"examples": [_EXAMPLE]}}

    title: Title
    content: Content
    published: StrictBool = True


class PostUpdate(Changes):
    """Some fields of a post. The fields that are left out stay unchanged."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"content": "They dance, and the others follow."}]})

    title: Title = may_be_left_out()
    content: Content = may_be_left_out()
    published: StrictBool = may_be_left_out()


# The one list of a post's public fields. Each but ``owner`` is named after a column of the posts table.
class PostPublic(BaseModel):
    id: int
    title: str
    content: str
    published: bool
    date: Annotated[datetime, Field(description="When the post was created, as a draft or published")]
    published_at: Annotated[datetime | None, Field(description="When the post was first published; null before that")]
    updated_at: datetime
    votes: int
    owner: AuthorPublic


class PostPage(RowPage[PostPublic]):
    """A page of posts, and the cursor of the next page, or null on the last page."""


class CountedPostPage(CountedRowPage[PostPublic]):
    """A page of posts with the number of all posts of the list, which is exact up to 10,000."""


# Not a ListQuery: some generated clients pass parameters by position, so these keep their order.
class PostQuery(BaseModel):
    """The query parameters of the list of posts."""

    limit: Annotated[Decimal, Field(ge=1, le=100, description="The maximum number of posts on a page")] = 10
    skip: Annotated[
        Decimal, Field(ge=0, le=MAX_SKIP, description="The number of posts to skip (cannot be combined with cursor)")
    ] = 0
    search: Annotated[
        Search | None,
        Field(
            description='Words, "quoted phrases" and -exclusions; the last word also matches as a prefix. Capitals and '
            "marks on letters make no difference. At most 32 words and 8 exclusions"
        ),
    ] = None
    sort: Annotated[Sort, Field(description="By time of publication (new), votes (top), or both (hot)")] = Sort.NEW
    cursor: Annotated[CursorText | None, Field(description="The value of next on the previous page")] = None
    total: Annotated[bool, Field(description="Also count all posts of the list, up to 10,000")] = False
    mine: Annotated[bool, Field(description="Only your own posts, including drafts (requires a token)")] = False
