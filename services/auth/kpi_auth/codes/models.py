"""Single-use codes that are sent by e-mail."""

from datetime import datetime
from enum import StrEnum

from kpi_shared.records.models import row_id
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    Text,
    func,
)
from sqlmodel import Field

from kpi_auth.tables import Table


class Purpose(StrEnum):
    """The only purpose that a code is valid for."""

    VERIFY_EMAIL = "verify_email"
    CHANGE_EMAIL = "change_email"
    RESET_PASSWORD = "reset_password"  # noqa: S105 a purpose


class OneTimeCode(Table, table=True):
    __tablename__ = "one_time_codes"
    __table_args__ = (
        CheckConstraint("purpose IN ('verify_email', 'change_email', 'reset_password')", name="purpose_known"),
        CheckConstraint("length(code_hash) = 32", name="hash_length"),
        Index("uq_one_time_codes_code_hash", "code_hash", unique=True),
        Index("ix_one_time_codes_user_id", "user_id"),
        Index("ix_one_time_codes_expires_at", "expires_at"),
    )

    id: int | None = row_id()
    user_id: int = Field(sa_column=Column(BigInteger, ForeignKey("users.id", ondelete="CASCADE"), nullable=False))
    purpose: str = Field(sa_type=Text)
    code_hash: bytes = Field(sa_type=LargeBinary)
    # The address that the code was sent to.
    email: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})
    expires_at: datetime = Field(sa_type=DateTime(timezone=True))
