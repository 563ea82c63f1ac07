"""How often something was tried of late, for all replicas together."""

from datetime import datetime

from sqlalchemy import Column, DateTime, LargeBinary
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field

from kpi_auth.tables import Table


class AttemptLog(Table, table=True):
    """The times of what was tried under one key: a sliding window in one row, so that one statement counts and adds."""

    __tablename__ = "attempts"
    # A digest of what is limited (an address, a name that was typed), which itself is nobody's business here.
    key: bytes = Field(sa_column=Column(LargeBinary, primary_key=True))
    times: list[datetime] = Field(sa_column=Column(ARRAY(DateTime(timezone=True)), nullable=False))
    # When the newest leaves its window, and with it the row its use. It moves with each attempt: an index on it would
    # cost more than reading this small table through once an hour.
    forget_at: datetime = Field(sa_type=DateTime(timezone=True))
    # When it was last recorded that the limit was reached: once a window, since a storm must not fill the records.
    told_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
