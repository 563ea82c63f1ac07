"""How far the events of other services have been read."""

from sqlalchemy import BigInteger, CheckConstraint, Column, Text
from sqlmodel import Field

from kpi_content.tables import Table

AUTH = "auth"


class Inbox(Table, table=True):
    """All events of the source up to ``seq`` are in this database. No row: its accounts must be read from the start."""

    __tablename__ = "inbox"
    __table_args__ = (CheckConstraint("seq >= 0", name="seq_not_negative"),)

    source: str = Field(sa_column=Column(Text, primary_key=True))
    seq: int = Field(sa_type=BigInteger)
