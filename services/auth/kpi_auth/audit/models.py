"""The audit table: a permanent record of what happened to accounts."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from kpi_shared.records.models import row_id
from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, Index, LargeBinary, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from kpi_auth.tables import Table


class Event(StrEnum):
    """The events that are recorded. Their values are stored and public, so they never change."""

    REGISTERED = "user.registered"
    USER_CREATED = "user.created"
    USER_CHANGED = "user.changed"
    ROLE_CHANGED = "user.role_changed"
    DEACTIVATED = "user.deactivated"
    ACTIVATED = "user.activated"
    DELETED = "user.deleted"
    DELETION_REFUSED = "user.deletion_refused"
    RESTORED = "user.restored"
    SIGNED_IN = "session.started"
    SIGN_IN_FAILED = "session.refused"
    THROTTLED = "attempts.throttled"
    SIGNED_OUT = "session.ended"
    SESSION_REVOKED = "session.revoked"
    REFRESH_REUSED = "session.refresh_reused"
    PASSWORD_CHANGED = "password.changed"  # noqa: S105 an event's name
    PASSWORD_CHANGE_REFUSED = "password.change_refused"  # noqa: S105 as above
    PASSWORD_RESET_REQUESTED = "password.reset_requested"  # noqa: S105 as above
    PASSWORD_RESET = "password.reset"  # noqa: S105 as above
    EMAIL_VERIFICATION_SENT = "email.verification_sent"
    EMAIL_VERIFIED = "email.verified"
    EMAIL_CHANGE_REQUESTED = "email.change_requested"
    EMAIL_CHANGE_REFUSED = "email.change_refused"
    EMAIL_CHANGED = "email.changed"
    IDENTITY_LINKED = "identity.linked"
    IDENTITY_UNLINKED = "identity.unlinked"
    IDENTITY_REFUSED = "identity.refused"
    MAIL_RETRIED = "mail.retried"
    API_KEY_CREATED = "api_key.created"
    API_KEY_CHANGED = "api_key.changed"
    API_KEY_ROTATED = "api_key.rotated"
    API_KEY_DEACTIVATED = "api_key.deactivated"
    API_KEY_ACTIVATED = "api_key.activated"
    API_KEY_DELETED = "api_key.deleted"
    API_KEY_REVOKED = "api_key.revoked"
    API_KEY_NETWORK_REFUSED = "api_key.network_refused"
    TOKEN_KEY_KILLED = "token_key.killed"  # noqa: S105 as above
    WEBHOOK_CREATED = "webhook.created"
    WEBHOOK_CHANGED = "webhook.changed"
    WEBHOOK_SECRET_ROTATED = "webhook.secret_rotated"  # noqa: S105 an event's name
    WEBHOOK_REPLAYED = "webhook.replayed"
    WEBHOOK_DISABLED = "webhook.disabled"
    WEBHOOK_DELETED = "webhook.deleted"
    BOOTSTRAPPED = "installation.bootstrapped"


class RefusalReason(StrEnum):
    """The ``reason`` in the details of a refusal, which no response discloses. Values are stored: they never change."""

    UNKNOWN = "unknown"
    UNCONFIRMED_ADDRESS = "unconfirmed-address"
    WRONG_PASSWORD = "wrong-password"  # noqa: S105 a reason
    NO_PASSWORD = "no-password"  # noqa: S105 as above
    CHANGED_MEANWHILE = "changed-meanwhile"
    INACTIVE = "inactive"
    DELETED = "deleted"
    CLOSED = "closed"
    INVALID_TOKEN = "invalid-token"  # noqa: S105 as above


class AuditEvent(Table, table=True):
    """One event. Triggers refuse to change a row, to chain it twice, and to delete it before a checkpoint covers it."""

    __tablename__ = "audit_events"
    __table_args__ = (
        Index("ix_audit_events_actor_id", "actor_id", "id"),
        Index("ix_audit_events_subject_id", "subject_id", "id"),
        Index("ix_audit_events_event", "event", "id"),
        Index("ix_audit_events_key_id", "key_id", "id", postgresql_where=text("key_id IS NOT NULL")),
        Index("ix_audit_events_at", "at", "id"),
        Index("ix_audit_events_waiting", "id", postgresql_where=text("seq IS NULL")),
        Index("uq_audit_events_seq", "seq", unique=True, postgresql_where=text("seq IS NOT NULL")),
        CheckConstraint("(seq IS NULL) = (hash IS NULL)", name="place_has_hash"),
    )

    id: int | None = row_id()
    at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})
    event: str = Field(sa_type=Text)
    # Who did it, and to whom; None if unknown. No foreign keys: a record outlives the accounts that it refers to.
    actor_id: int | None = Field(default=None, sa_type=BigInteger)
    subject_id: int | None = Field(default=None, sa_type=BigInteger)
    # The API key that the event is about, or else that of the request.
    key_id: int | None = Field(default=None, sa_type=BigInteger)
    address: str | None = Field(default=None, sa_type=Text)
    user_agent: str | None = Field(default=None, sa_type=Text)
    request_id: str | None = Field(default=None, sa_type=Text)
    details: dict[str, Any] = Field(
        default_factory=dict, sa_column=Column(JSONB, nullable=False, server_default=text("'{}'"))
    )
    # The place in the chain and the hash that covers the row and the place before it (audit/chain.py): both are set
    # after the commit, by the chainer.
    seq: int | None = Field(default=None, sa_type=BigInteger)
    hash: bytes | None = Field(default=None, sa_type=LargeBinary)


class CheckpointKind(StrEnum):
    """``head``: the chain had reached this place. ``start``: the records up to this place were deleted by age."""

    HEAD = "head"
    START = "start"


class AuditCheckpoint(Table, table=True):
    """A signed statement about one place of the chain."""

    __tablename__ = "audit_checkpoints"
    __table_args__ = (
        Index("ix_audit_checkpoints_kind", "kind", "seq"),
        CheckConstraint("kind IN ('head', 'start')", name="kind_known"),
    )

    id: int | None = row_id()
    kind: str = Field(sa_type=Text)
    at: datetime = Field(sa_type=DateTime(timezone=True))
    seq: int = Field(sa_type=BigInteger)
    hash: bytes = Field(sa_type=LargeBinary)
    signature: bytes = Field(sa_type=LargeBinary)
