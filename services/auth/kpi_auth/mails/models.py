"""The outbox: mails that a request added in its transaction, for the worker to send."""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from kpi_shared.records.models import row_id
from sqlalchemy import BigInteger, CheckConstraint, DateTime, Index, Text, func, text
from sqlmodel import Field

from kpi_auth.tables import Table


class MailState(StrEnum):
    PENDING = "pending"
    SENT = "sent"
    # Given up: permanently refused, attempted too often, or expired.
    DEAD = "dead"


class OutboxMail(Table, table=True):
    __tablename__ = "mails"
    __table_args__ = (
        CheckConstraint("state IN ('pending', 'sent', 'dead')", name="state_known"),
        CheckConstraint("attempts >= 0", name="attempts_count"),
        Index("ix_mails_due", "due_at", "id", postgresql_where=text("state = 'pending'")),
        Index("ix_mails_state", "state", "id"),
    )

    id: int | None = row_id()
    recipient: str = Field(sa_type=Text)
    template: str = Field(sa_type=Text)
    # The values of the template, encrypted because they may contain a code. None once they are no longer needed.
    content: str | None = Field(default=None, sa_type=Text)
    state: str = Field(default=MailState.PENDING.value, sa_type=Text, sa_column_kwargs={"server_default": "pending"})
    attempts: int = Field(default=0, sa_column_kwargs={"server_default": text("0")})
    # The earliest time of the next attempt. A lease sets it to a time in the future, so that no other worker takes it.
    due_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})
    # Identifies the lease.
    lease: int | None = Field(default=None, sa_type=BigInteger)
    # The time from which the content is of no use.
    expires_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    created_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})
    settled_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    last_error: str | None = Field(default=None, sa_type=Text)


class LeasedMail(NamedTuple):
    """A mail that only one worker may send until its lease ends; each lease has a number of its own."""

    id: int
    recipient: str
    template: str
    content: str | None
    attempts: int
    lease: int
    expires_at: datetime | None
    created_at: datetime
    is_expired: bool


class DeliveryOutcome(NamedTuple):
    """The outcome of one attempt; PENDING means that the next attempt is due in ``delay`` seconds."""

    state: MailState
    error: str | None = None
    delay: float = 0
