"""The public fields of an author."""

from pydantic import BaseModel


class AuthorPublic(BaseModel):
    id: int
    username: str
