"""What people send about posts, and what they are shown."""

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, StrictBool, StringConstraints, model_validator
from pydantic_core import PydanticCustomError
from sqlmodel import SQLModel

from kpi_content.authors.schemas import AuthorPublic
from kpi_content.posts.filters import CURSOR_PATTERN, Sort
from kpi_content.posts.models import MAX_CONTENT, MAX_TITLE

MAX_SEARCH = 200
MAX_SKIP = 10_000

# PostgreSQL's text holds no NUL. StorableText would refuse it too, but a pattern is also published, so that a
# caller can know of the rule before breaking it.
Title = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, min_length=1, max_length=MAX_TITLE, pattern=r"^[^\x00]*[^\s\x00][^\x00]*$"
    ),
]
Content = Annotated[str, StringConstraints(max_length=MAX_CONTENT, pattern=r"^[^\x00]*$")]
# The replacement character is what becomes of bytes in an address that are not UTF-8.
Search = Annotated[str, StringConstraints(max_length=MAX_SEARCH, pattern=r"^[^\x00\uFFFD]*$")]
CursorText = Annotated[str, StringConstraints(pattern=CURSOR_PATTERN)]


class PostCreate(SQLModel):
    """A new post, or the whole of what replaces one."""

    model_config = {"extra": "forbid"}

    title: Title
    content: Content
    published: StrictBool = True


class PostUpdate(SQLModel):
    """Some of a post. What is left out stays as it is."""

    model_config = {"extra": "forbid", "json_schema_extra": {"minProperties": 1}}

    # The defaults only make the fields optional: ``changes`` leaves out what was not sent.
    title: Title = Field(default_factory=str)
    content: Content = Field(default_factory=str)
    published: StrictBool = Field(default_factory=bool)

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set:
            raise PydanticCustomError("empty", "At least one of title, content and published is needed")
        return self

    @property
    def changes(self) -> dict[str, Any]:
        return self.model_dump(include=self.model_fields_set)


# What is shown is plain pydantic: a list makes up to a hundred of these, in 1.3 microseconds each, where SQLModel
# runs Python code for every object and takes 10.
class PostPublic(BaseModel):
    id: int
    title: str
    content: str
    published: bool
    date: datetime
    updated_at: datetime
    votes: int
    owner: AuthorPublic


class PostPage(BaseModel):
    """Some posts, and the cursor of those after them, or null at the end."""

    items: list[PostPublic]
    next: str | None


class CountedPostPage(PostPage):
    """The same with the number of all posts of the list."""

    total: int


class PostQuery(BaseModel):
    """What can be asked of the list of posts."""

    limit: Annotated[int, Field(ge=1, le=100, description="How many posts a page has at most")] = 10
    skip: Annotated[int, Field(ge=0, le=MAX_SKIP, description="How many posts to leave out (not with a cursor)")] = 0
    search: Annotated[
        Search | None,
        Field(description='Words, "quoted phrases" and -exclusions; the last word may be the beginning of one'),
    ] = None
    sort: Annotated[Sort, Field(description="By date, by votes, or by both")] = Sort.NEW
    cursor: Annotated[CursorText | None, Field(description="The next of the page before")] = None
    total: Annotated[bool, Field(description="Count all posts of the list too")] = False
    mine: Annotated[bool, Field(description="Only my own posts, drafts included (needs a token)")] = False
