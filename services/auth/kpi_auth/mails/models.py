"""The outbox: mails that were written in a request's transaction and wait for the worker."""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, Identity, Index, Text, func, text
from sqlmodel import Field

from kpi_auth.tables import Table


class MailState(StrEnum):
    PENDING = "pending"
    SENT = "sent"
    # Given up: refused for good, tried too often, or too old to be of use.
    DEAD = "dead"


class OutboxMail(Table, table=True):
    __tablename__ = "mails"
    __table_args__ = (
        CheckConstraint("state IN ('pending', 'sent', 'dead')", name="state_known"),
        CheckConstraint("attempts >= 0", name="attempts_count"),
        Index("ix_mails_due", "due_at", "id", postgresql_where=text("state = 'pending'")),
        Index("ix_mails_state", "state", "id"),
    )

    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=False), primary_key=True))
    recipient: str = Field(sa_type=Text)
    template: str = Field(sa_type=Text)
    # What the template is filled with, sealed: it may hold a code. None once it is of no more use.
    content: str | None = Field(default=None, sa_type=Text)
    state: str = Field(default=MailState.PENDING.value, sa_type=Text, sa_column_kwargs={"server_default": "pending"})
    attempts: int = Field(default=0, sa_column_kwargs={"server_default": text("0")})
    # When the worker may take it; while one sends it, that lies ahead, so that no other takes it too.
    due_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})
    # When its content has no more meaning.
    expires_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    created_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})
    settled_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    last_error: str | None = Field(default=None, sa_type=Text)


class LeasedMail(NamedTuple):
    """A mail that one worker alone may send until ``due_at``, which no other lease of it has."""

    id: int
    recipient: str
    template: str
    content: str | None
    attempts: int
    due_at: datetime
    expires_at: datetime | None
    created_at: datetime
    is_expired: bool


class Outcome(NamedTuple):
    """What came of one attempt; PENDING means that it is put off by ``delay`` seconds."""

    state: MailState
    error: str | None = None
    delay: float = 0
