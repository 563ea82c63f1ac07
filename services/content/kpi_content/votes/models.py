"""The votes table."""

from datetime import datetime

from sqlalchemy import BigInteger, Column, DateTime, ForeignKey, func
from sqlmodel import Field

from kpi_content.tables import Table


class Vote(Table, table=True):
    """The vote of one user for one post."""

    __tablename__ = "votes"

    post_id: int = Field(sa_column=Column(BigInteger, ForeignKey("posts.id", ondelete="CASCADE"), primary_key=True))
    # No foreign key: the users are in the auth service's database, and a voter need not be an author here.
    user_id: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    date: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})
