"""The table of API keys."""

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
    LargeBinary,
    Text,
    func,
    text,
)
from sqlmodel import Field

from kpi_auth.tables import Table


class ApiKey(Table, table=True):
    """A key that has not been deleted. Its text is stored nowhere, only an HMAC of it and its first characters."""

    __tablename__ = "api_keys"
    __table_args__ = (
        CheckConstraint("length(secret_hash) = 32", name="hash_length"),
        CheckConstraint("length(name) BETWEEN 1 AND 100 AND length(description) <= 1000", name="texts_length"),
        CheckConstraint(
            "scopes <@ ARRAY['read', 'write', 'admin'] AND cardinality(scopes) BETWEEN 1 AND 3", name="scopes_known"
        ),
        CheckConstraint("cardinality(allowed_networks) <= 100", name="networks_count"),
        CheckConstraint("(rate_limit_requests IS NULL) = (rate_limit_window IS NULL)", name="rate_limit_has_both"),
        CheckConstraint("uses >= 0", name="uses_count"),
        Index("ix_api_keys_user_id", "user_id", "id"),
        Index("ix_api_keys_expires_at", "expires_at", postgresql_where=text("expires_at IS NOT NULL")),
    )

    id: int | None = row_id()
    user_id: int = Field(sa_column=Column(BigInteger, ForeignKey("users.id", ondelete="CASCADE"), nullable=False))
    name: str = Field(sa_type=Text)
    description: str | None = Field(default=None, sa_type=Text)
    prefix: str = Field(sa_type=Text)
    secret_hash: bytes = Field(sa_type=LargeBinary)
    scopes: list[str] = Field(sa_type=ARRAY(Text))
    # Empty: from everywhere.
    allowed_networks: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False, server_default=text("'{}'")))
    rate_limit_requests: int | None = None
    rate_limit_window: int | None = None
    is_active: bool = Field(default=True, sa_column_kwargs={"server_default": text("true")})
    # An admin who is not the owner has deactivated it.
    is_held: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    created_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})
    updated_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})
    expires_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    # The key that took its place. No foreign key: either may be deleted first.
    replaced_by: int | None = Field(default=None, sa_type=BigInteger)
    # Incremented by each change that a person or a key makes, not by use; the entity tag is made from it.
    version: int = Field(default=1, sa_column_kwargs={"server_default": text("1")})
    last_used_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    last_used_address: str | None = Field(default=None, sa_type=Text)
    uses: int = Field(default=0, sa_type=BigInteger, sa_column_kwargs={"server_default": text("0")})


class KeyUse(NamedTuple):
    """Some requests with a key that were not yet counted, and the time and the client address of the last one."""

    key_id: int
    requests: int
    at: datetime
    address: str | None


class UsableKey(NamedTuple):
    """What a token for a key needs, and the hash to compare. ``seconds_left`` is None for a key without an end."""

    id: int
    user_id: int
    username: str
    role: str
    account_version: int
    secret_hash: bytes
    scopes: list[str]
    allowed_networks: list[str]
    rate_limit_requests: int | None
    rate_limit_window: int | None
    expires_at: datetime | None
    seconds_left: float | None
