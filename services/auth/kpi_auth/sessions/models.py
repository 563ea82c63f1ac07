"""The sessions table: one row for each sign-in, however many tokens it issues."""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from kpi_shared.records.models import row_id
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    SmallInteger,
    Text,
    func,
    text,
)
from sqlmodel import Field

from kpi_auth.tables import Table


class EndReason(StrEnum):
    """Why a session ended."""

    LOGOUT = "logout"
    REVOKED = "revoked"
    ADMIN = "admin"
    REUSE = "reuse"
    LIMIT = "limit"
    EXPIRED = "expired"
    CLOSED = "closed"
    PASSWORD = "password"  # noqa: S105 it is a reason
    ROLE = "role"


class ReuseSign(StrEnum):
    """What showed that two clients have a session's tokens. Values are stored in audit records: they never change."""

    OLDER = "older"
    ELSEWHERE = "elsewhere"
    REPEATED = "repeated"


class Session(Table, table=True):
    __tablename__ = "sessions"
    __table_args__ = (
        CheckConstraint("length(secret) = 32", name="secret_length"),
        CheckConstraint("counter >= 0", name="counter_counts"),
        CheckConstraint("(ended_at IS NULL) = (end_reason IS NULL)", name="end_has_reason"),
        Index("ix_sessions_living", "user_id", "id", postgresql_where=text("ended_at IS NULL")),
    )

    id: int | None = row_id()
    user_id: int = Field(sa_column=Column(BigInteger, ForeignKey("users.id", ondelete="CASCADE"), nullable=False))
    # One half of the key of the refresh tokens' codes; the other half is the service's key.
    secret: bytes = Field(sa_type=LargeBinary)
    # The number of the refresh token that is currently valid.
    counter: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": text("0")})
    created_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})
    # When the counter last changed.
    used_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})
    # When it had changed before that; None before the second change.
    used_before: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    # How much the repeats of consecutive refreshes point to a second client (repeats.py), without and of the last one.
    suspicion: int = Field(default=0, sa_type=SmallInteger, sa_column_kwargs={"server_default": text("0")})
    repeat_suspicion: int = Field(default=0, sa_type=SmallInteger, sa_column_kwargs={"server_default": text("0")})
    ended_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    end_reason: str | None = Field(default=None, sa_type=Text)
    address: str | None = Field(default=None, sa_type=Text)
    user_agent: str | None = Field(default=None, sa_type=Text)


class NamedSession(NamedTuple):
    """The session of a genuine token."""

    id: int
    user_id: int
