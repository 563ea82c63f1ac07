"""The authors table."""

from sqlalchemy import BigInteger, CheckConstraint, Column, Text
from sqlmodel import Field

from kpi_content.tables import Table


class Author(Table, table=True):
    """Someone who posted: the user's id and name as their token said them.

    Users live in the auth service's database. This copy makes ``posts.owner_id`` a real foreign key, and shows
    who wrote a post without asking another service.
    """

    __tablename__ = "authors"
    __table_args__ = (CheckConstraint("length(username) >= 1 AND length(username) <= 255", name="username_length"),)

    # The id is the user's, so no sequence hands it out.
    id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    # Not unique: a name that one user gave up may be another's before the first one writes again.
    username: str = Field(sa_type=Text)
