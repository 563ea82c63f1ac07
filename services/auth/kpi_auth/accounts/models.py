"""The users table."""

from datetime import datetime
from typing import NamedTuple

from kpi_shared.caller import Role
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
    column,
    func,
    text,
)
from sqlmodel import Field

from kpi_auth.tables import Table


class UserBase(Table):
    """The fields that users choose. The username keeps its case, and is unique regardless of case."""

    username: str = Field(sa_type=Text)
    # Lower case; None for an imported account, whose address is unknown.
    email: str | None = Field(default=None, sa_type=Text)
    full_name: str | None = Field(default=None, sa_type=Text)
    bio: str | None = Field(default=None, sa_type=Text)


class User(UserBase, table=True):
    __tablename__ = "users"
    __table_args__ = (
        # Imported names may be shorter than the three characters that registration requires.
        CheckConstraint("username ~ '^[A-Za-z0-9_.-]{1,32}$'", name="username_form"),
        CheckConstraint("email = lower(email) AND length(email) <= 254", name="email_form"),
        CheckConstraint("role IN ('user', 'admin')", name="role_known"),
        CheckConstraint("length(full_name) <= 100 AND length(bio) <= 2000", name="profile_length"),
        CheckConstraint("email_verified_at IS NULL OR email_signs_in", name="verified_email_signs_in"),
        Index("uq_users_username", text("lower(username)"), unique=True),
        Index("uq_users_email", "email", unique=True, postgresql_where=text("email_signs_in")),
        # Sorted by character, independent of the database's collation: for prefix searches and for pages by name.
        Index(
            "ix_users_username_prefix",
            func.lower(column("username")).label("folded"),
            "id",
            postgresql_ops={"folded": "text_pattern_ops"},
        ),
        Index("ix_users_email_prefix", "email", "id", postgresql_ops={"email": "text_pattern_ops"}),
        Index("ix_users_created_at", "created_at", "id"),
        # A page of these few users reads no other rows.
        Index("ix_users_admins", "created_at", "id", postgresql_where=text("role = 'admin'")),
        Index(
            "ix_users_closed",
            "created_at",
            "id",
            postgresql_where=text("NOT is_active OR deleted_at IS NOT NULL"),
        ),
    )

    id: int | None = row_id()
    # True if the address identifies this account and always signs in. Any client can register with any address: if
    # registration does not disclose taken addresses, this is false until the address is verified, so that an
    # unverified address does not block its owner. It signs in only while no other account has it.
    email_signs_in: bool = Field(default=True, sa_column_kwargs={"server_default": text("true")})
    email_verified_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    # None if the account has no password.
    password_hash: str | None = Field(default=None, sa_type=Text)
    role: str = Field(default=Role.USER.value, sa_type=Text, sa_column_kwargs={"server_default": "user"})
    is_active: bool = Field(default=True, sa_column_kwargs={"server_default": text("true")})
    created_at: datetime = Field(
        sa_type=DateTime(timezone=True),
        sa_column_kwargs={"server_default": func.now()},
    )
    # Incremented by each change of a visible field; the entity tag is made from it.
    version: int = Field(default=1, sa_column_kwargs={"server_default": text("1")})
    updated_at: datetime = Field(
        sa_type=DateTime(timezone=True),
        sa_column_kwargs={"server_default": func.now()},
    )
    deleted_at: datetime | None = Field(
        default=None,
        sa_type=DateTime(timezone=True),
    )


class AccountImport(Table, table=True):
    """Which account an imported line became, so that another import knows it again whatever has changed since.

    The key is a keyed digest of the address, or of the name of a line without one: no former address is kept.
    """

    __tablename__ = "account_imports"

    key: bytes = Field(sa_column=Column(LargeBinary, primary_key=True))
    user_id: int = Field(sa_column=Column(BigInteger, ForeignKey("users.id", ondelete="CASCADE"), nullable=False))


class Account(NamedTuple):
    """The fields of a user that sign-in needs."""

    id: int
    username: str
    role: Role
    password_hash: str | None
    may_sign_in: bool
    # When the row was read.
    version: int


class NewAccount(NamedTuple):
    """The columns of a new account; a verified address can always sign in."""

    username: str
    email: str | None
    email_signs_in: bool
    is_verified: bool = False
    full_name: str | None = None
    bio: str | None = None
    password_hash: str | None = None
    role: Role = Role.USER
    is_active: bool = True


class PasswordOwner(NamedTuple):
    """An open account with its password's hash, which is None if the account has no password.

    ``notice_email`` is the address for notices about the account: it is verified, or can sign in without verification.
    """

    id: int
    username: str
    email: str | None
    password_hash: str | None
    notice_email: str | None


class Recipient(NamedTuple):
    """An account and its address; ``holder`` is the username of another account that has verified this address."""

    id: int
    username: str
    email: str
    holder: str | None = None


class LoginState(NamedTuple):
    """Whether any account has the login as its address, and whether the account of the login is deleted."""

    is_claimed: bool
    is_deleted: bool


class EmailHolder(NamedTuple):
    """The account that can sign in with an address."""

    id: int
    username: str
