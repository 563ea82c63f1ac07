"""The users table."""

from datetime import datetime
from typing import NamedTuple

from kpi_shared.tokens import Role
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlmodel import Field

from kpi_auth.tables import Table


class UserBase(Table):
    """What a person chooses. The username keeps its case and is unique without it."""

    username: str = Field(sa_type=Text)
    # Lower case; None for an imported account, whose address nobody knows.
    email: str | None = Field(default=None, sa_type=Text)


class User(UserBase, table=True):
    __tablename__ = "users"
    __table_args__ = (
        # Imported names may be shorter than the three characters that registration asks for.
        CheckConstraint("username ~ '^[A-Za-z0-9_.-]{1,32}$'", name="username_form"),
        CheckConstraint("email = lower(email) AND length(email) <= 254", name="email_form"),
        CheckConstraint("role IN ('user', 'admin')", name="role_known"),
        UniqueConstraint("email"),
        Index("uq_users_username", text("lower(username)"), unique=True),
    )

    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=False), primary_key=True))
    # None where no password opens the account.
    password_hash: str | None = Field(default=None, sa_type=Text)
    role: str = Field(default=Role.USER.value, sa_type=Text, sa_column_kwargs={"server_default": "user"})
    is_active: bool = Field(default=True, sa_column_kwargs={"server_default": text("true")})
    created_at: datetime = Field(
        sa_type=DateTime(timezone=True),
        sa_column_kwargs={"server_default": func.now()},
    )
    updated_at: datetime = Field(
        sa_type=DateTime(timezone=True),
        sa_column_kwargs={"server_default": func.now()},
    )
    deleted_at: datetime | None = Field(
        default=None,
        sa_type=DateTime(timezone=True),
    )


class Account(NamedTuple):
    """What signing in needs to know of a user."""

    id: int
    username: str
    role: Role
    password_hash: str | None
    may_sign_in: bool
