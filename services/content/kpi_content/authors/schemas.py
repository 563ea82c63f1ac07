"""What is shown of an author."""

from sqlmodel import SQLModel


class AuthorPublic(SQLModel):
    id: int
    username: str
