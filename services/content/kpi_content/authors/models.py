"""The authors table."""

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Text, text
from sqlmodel import Field

from kpi_content.tables import Table


class Author(Table, table=True):
    """An account of the auth service: a copy, written from auth's events and from the tokens of those who post.

    It makes ``posts.owner_id`` a real foreign key, and gives a post its author's name without a request to another
    service. The higher ``version`` of the account wins, whichever is written first.
    """

    __tablename__ = "authors"
    __table_args__ = (
        CheckConstraint("length(username) >= 1 AND length(username) <= 255", name="username_length"),
        CheckConstraint("is_deleted = (username IS NULL)", name="deleted_has_no_name"),
        Index("ix_authors_username_lower", text("lower(username)")),
    )

    # The id is the user's, so it comes from no sequence here.
    id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    # Not unique: the events of a name that goes from one account to another come one after the other.
    username: str | None = Field(default=None, sa_type=Text)
    # That of the account; 0 if it is unknown: imported, or from an auth that writes none into tokens. While the copy is
    # built anew, -1 minus the version of what has not been seen again yet.
    version: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": text("0")})
    is_deleted: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
