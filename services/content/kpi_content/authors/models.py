"""The authors table."""

from sqlalchemy import BigInteger, CheckConstraint, Column, Text
from sqlmodel import Field

from kpi_content.tables import Table


class Author(Table, table=True):
    """A user who has posted: the id and the username from the user's token.

    The table of users is in the auth service's database. This copy makes ``posts.owner_id`` a real foreign key, and
    gives a post its author's name without a request to another service.
    """

    __tablename__ = "authors"
    __table_args__ = (CheckConstraint("length(username) >= 1 AND length(username) <= 255", name="username_length"),)

    # The id is the user's, so it comes from no sequence here.
    id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    # Not unique: another user may take a name before the user who gave it up writes again.
    username: str = Field(sa_type=Text)
