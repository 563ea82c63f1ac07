"""How far the events of other services have been read."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, Text, text
from sqlmodel import Field

from kpi_content.tables import Table

AUTH = "auth"


class Inbox(Table, table=True):
    """All events of the source up to ``seq`` are in this database; without one, its accounts must be read.

    One rebuild at a time reads them: that with the number ``rebuild``. After ``held_until``, which it keeps postponing,
    its process has ended, and another may begin.
    """

    __tablename__ = "inbox"
    __table_args__ = (CheckConstraint("seq >= 0", name="seq_not_negative"),)

    source: str = Field(sa_column=Column(Text, primary_key=True))
    seq: int | None = Field(default=None, sa_type=BigInteger)
    rebuild: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": text("0")})
    held_until: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
