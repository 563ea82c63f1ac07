"""Outlets: the ways by which events leave the platform, and how far each has come."""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Text, func, text
from sqlmodel import Field

from kpi_auth.tables import Table


class OutletState(StrEnum):
    # Nothing has been acknowledged yet.
    NEW = "new"
    WORKING = "working"
    FAILING = "failing"


class Outlet(Table, table=True):
    __tablename__ = "outlets"
    __table_args__ = (
        CheckConstraint("state IN ('new', 'working', 'failing')", name="state_known"),
        CheckConstraint("seq >= 0", name="seq_count"),
    )

    name: str = Field(primary_key=True, sa_type=Text)
    # Every event up to this one has been acknowledged.
    seq: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": text("0")})
    # The process that works, and until when no other may begin.
    holder: str | None = Field(default=None, sa_type=Text)
    leased_until: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    state: str = Field(default=OutletState.NEW.value, sa_type=Text, sa_column_kwargs={"server_default": "new"})
    last_error: str | None = Field(default=None, sa_type=Text)
    # Since when it is in this state.
    state_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})
    # When an event was acknowledged last; at first, when the outlet was added.
    acknowledged_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})


class OutgoingEvent(NamedTuple):
    """An event as the outside gets it; ``body`` is JSON, as in the feed."""

    seq: int
    type: str
    schema_version: int
    account_id: int | None
    body: bytes


class Lag(NamedTuple):
    """The events that an outlet has not acknowledged: how many, and the age of the oldest in seconds."""

    events: int
    seconds: float
