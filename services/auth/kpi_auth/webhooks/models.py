"""The tables of webhooks, and of the events that are still to be sent to them."""

from datetime import datetime
from typing import NamedTuple

from kpi_shared.records.models import row_id
from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Text,
    func,
    text,
)
from sqlmodel import Field

from kpi_auth.tables import Table
from kpi_auth.webhooks.fields import DeliveryState, Outcome


class Webhook(Table, table=True):
    """An address that gets events. Its secret is encrypted, so that the database alone signs nothing."""

    __tablename__ = "webhooks"
    __table_args__ = (
        CheckConstraint("length(url) BETWEEN 1 AND 2048 AND length(description) <= 1000", name="texts_length"),
        CheckConstraint("cardinality(event_types) <= 50", name="event_types_count"),
        CheckConstraint("(disabled_at IS NULL) = (disabled_reason IS NULL)", name="disabled_has_reason"),
        CheckConstraint("NOT (is_active AND disabled_at IS NOT NULL)", name="active_or_disabled"),
        CheckConstraint("(previous_secret IS NULL) = (previous_until IS NULL)", name="previous_secret_ends"),
        CheckConstraint("queued_seq >= 0 AND dead_in_row >= 0", name="numbers_count"),
    )

    id: int | None = row_id()
    url: str = Field(sa_type=Text)
    description: str | None = Field(default=None, sa_type=Text)
    # Types and patterns such as account.*; empty: all events.
    event_types: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False, server_default=text("'{}'")))
    is_active: bool = Field(default=True, sa_column_kwargs={"server_default": text("true")})
    secret: str = Field(sa_type=Text)
    # Signs too until this time, while receivers change to the new one.
    previous_secret: str | None = Field(default=None, sa_type=Text)
    previous_until: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    # The events up to this one are in the table below, or have been sent.
    queued_seq: int = Field(sa_type=BigInteger)
    # Deliveries that died since the last success.
    dead_in_row: int = Field(default=0, sa_column_kwargs={"server_default": text("0")})
    disabled_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    disabled_reason: str | None = Field(default=None, sa_type=Text)
    delivered_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    # No foreign key: the webhook outlives the account of the admin who made it.
    created_by: int | None = Field(default=None, sa_type=BigInteger)
    created_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})
    updated_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})
    version: int = Field(default=1, sa_column_kwargs={"server_default": text("1")})


class WebhookDelivery(Table, table=True):
    """An event that a webhook has not got yet. The row is deleted once the receiver has accepted the event."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        CheckConstraint("state IN ('pending', 'dead')", name="state_known"),
        CheckConstraint("attempts >= 0", name="attempts_count"),
        CheckConstraint("(state = 'dead') = (settled_at IS NOT NULL)", name="dead_is_settled"),
        CheckConstraint("state = 'pending' OR due_at IS NULL", name="dead_is_not_due"),
        Index("ix_webhook_deliveries_due", "webhook_id", "due_at", "seq", postgresql_where=text("due_at IS NOT NULL")),
        Index(
            "ix_webhook_deliveries_account",
            *("webhook_id", "account_id", "seq"),
            postgresql_where=text("state = 'pending'"),
        ),
    )

    webhook_id: int = Field(
        sa_column=Column(BigInteger, ForeignKey("webhooks.id", ondelete="CASCADE"), primary_key=True)
    )
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    # The account of the event, or 0: events of one account are sent one after another.
    account_id: int = Field(sa_type=BigInteger)
    event_type: str = Field(sa_type=Text)
    state: str = Field(
        default=DeliveryState.PENDING.value, sa_type=Text, sa_column_kwargs={"server_default": "pending"}
    )
    attempts: int = Field(default=0, sa_column_kwargs={"server_default": text("0")})
    # The earliest time of the next attempt; a lease sets it to a time in the future. Only the first pending delivery of
    # an account has one: the later ones wait for it.
    due_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    # The first attempt that fails after this time is the last.
    give_up_at: datetime = Field(sa_type=DateTime(timezone=True))
    # Identifies the lease.
    lease: int | None = Field(default=None, sa_type=BigInteger)
    last_error: str | None = Field(default=None, sa_type=Text)
    created_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})
    settled_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))


class LeasedDelivery(NamedTuple):
    """A delivery that one worker may attempt until its lease ends; each lease has a number of its own."""

    webhook_id: int
    seq: int
    account_id: int
    attempts: int
    lease: int
    is_last: bool
    url: str
    secret: str
    # None once it no longer signs.
    previous_secret: str | None


class AttemptResult(NamedTuple):
    """What came of an attempt, and the error for admins."""

    outcome: Outcome
    error: str = ""
