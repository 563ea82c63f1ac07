"""The public fields of an author."""

from typing import Annotated

from pydantic import BaseModel, Field


class AuthorPublic(BaseModel):
    id: int
    username: Annotated[str | None, Field(description="The name now; null if the account has been deleted")]
    deleted: bool
