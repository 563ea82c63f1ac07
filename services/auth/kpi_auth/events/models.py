"""The table of events: what other parts need to know about accounts, sessions and keys."""

from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from kpi_shared.records.models import row_id
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from kpi_auth.tables import Table


class EventType(StrEnum):
    """The names are a contract with the readers of events: see docs/events.md."""

    ACCOUNT_CREATED = "account.created"
    ACCOUNT_CHANGED = "account.changed"
    ACCOUNT_RENAMED = "account.renamed"
    ACCOUNT_ROLE_CHANGED = "account.role_changed"
    ACCOUNT_ACTIVATED = "account.activated"
    ACCOUNT_DEACTIVATED = "account.deactivated"
    ACCOUNT_DELETED = "account.deleted"
    ACCOUNT_RESTORED = "account.restored"
    SESSION_ENDED = "session.ended"
    SESSIONS_ENDED = "sessions.ended"
    API_KEY_ENDED = "api_key.ended"
    API_KEY_ACTIVATED = "api_key.activated"
    KEY_KILLED = "key.killed"


class StoredEvent(Table, table=True):
    """``seq`` is the event's place in the order of all events, which the relay gives it after the commit."""

    __tablename__ = "events"
    __table_args__ = (
        CheckConstraint("schema_version > 0", name="schema_version_positive"),
        Index("uq_events_seq", "seq", unique=True),
        Index("ix_events_waiting", "id", postgresql_where=text("seq IS NULL")),
        Index("ix_events_occurred_at", "occurred_at"),
        Index("ix_events_killed_keys", "id", postgresql_where=text("type = 'key.killed'")),
    )

    id: int | None = row_id()
    seq: int | None = Field(default=None, sa_type=BigInteger)
    type: str = Field(sa_type=Text)
    schema_version: int
    # No foreign key: the event of a row that is gone stays.
    account_id: int | None = Field(default=None, sa_type=BigInteger)
    data: dict[str, Any] = Field(sa_type=JSONB)
    occurred_at: datetime = Field(
        sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": text("clock_timestamp()")}
    )


class EventHorizon(Table, table=True):
    """The newest place in the order up to which events may have been deleted."""

    __tablename__ = "event_horizon"
    __table_args__ = (CheckConstraint("id = 1", name="only_one"),)

    id: int = Field(
        default=1,
        sa_column=Column(SmallInteger, primary_key=True, autoincrement=False, server_default=text("1")),
    )
    seq: int = Field(sa_type=BigInteger)


class PlacedEvent(NamedTuple):
    """An event that has its place; ``age`` is that in seconds when it was read, by the clock of the database.

    Its type may be one that a newer replica has written and this one does not know.
    """

    seq: int
    type: str
    schema_version: int
    account_id: int | None
    occurred_at: datetime
    data: dict[str, Any]
    age: float


class Ends(NamedTuple):
    """The places between which events are kept: after ``horizon``, and up to ``last``."""

    horizon: int
    last: int
