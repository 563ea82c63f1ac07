"""The lines that an import reads, and the totals that it prints."""

from datetime import datetime
from typing import Annotated, NamedTuple

from kpi_shared.database import MAX_ID
from kpi_shared.integers import Integer
from kpi_shared.text import OneLine
from pydantic import AfterValidator, AwareDatetime, BaseModel, Field, StringConstraints

from kpi_content.posts.schemas import Content, Title

_Id = Annotated[Integer, Field(ge=1, le=MAX_ID)]


def _check_distinct(ids: list[int]) -> list[int]:
    if len(set(ids)) != len(ids):
        raise ValueError("contains a voter twice")
    return ids


class ExternalId(NamedTuple):
    """Where a post comes from, and its number there."""

    source: str
    external_id: int


class ImportedAuthor(BaseModel):
    id: _Id
    username: Annotated[str, StringConstraints(min_length=1, max_length=255), OneLine()]


class ImportedPost(BaseModel):
    """One line of the input."""

    source: Annotated[str, StringConstraints(min_length=1, max_length=64), OneLine()]
    external_id: Annotated[Integer, Field(ge=-MAX_ID, le=MAX_ID)]
    author: ImportedAuthor
    title: Title
    content: Content
    date: AwareDatetime
    published_at: AwareDatetime | None = None
    voters: Annotated[list[_Id], AfterValidator(_check_distinct)]

    @property
    def first_published(self) -> datetime:
        """A post without a time of its publication was published when it was created."""
        return self.published_at or self.date

    @property
    def origin(self) -> ExternalId:
        return ExternalId(self.source, self.external_id)


class Totals(BaseModel):
    """The progress of an import, printed after each batch."""

    read: int = 0
    added: int = 0
    votes: int = 0
