"""The SQL of passwords. Statements are built once; each call only binds its values."""

from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_holder_of = text("""
    SELECT id, username, email, password_hash, CASE WHEN email_signs_in THEN email END AS told_at
    FROM users WHERE id = :id AND is_active AND deleted_at IS NULL
""")
# A username holds no @, so the login is either. An address names one account alone where it signs in; where it does
# not, many may have it, and the first of them is taken.
_recipient = text("""
    SELECT id, username, email FROM users
    WHERE (lower(username) = :login OR email = :login) AND email IS NOT NULL AND is_active AND deleted_at IS NULL
    ORDER BY email_signs_in DESC, id
    LIMIT 1
""")
_replace = text("UPDATE users SET password_hash = :new WHERE id = :id")


class Holder(NamedTuple):
    """Whose password it is, and its hash; no hash where no password opens the account.

    ``told_at`` is where news of the account go: an address that was shown to be its owner's, or taken for that.
    """

    id: int
    username: str
    email: str | None
    password_hash: str | None
    told_at: str | None


class Recipient(NamedTuple):
    id: int
    username: str
    email: str


async def holder_of(connection: AsyncConnection, *, user_id: int) -> Holder | None:
    """None for an account that is closed."""
    row = (await connection.execute(_holder_of, {"id": user_id})).one_or_none()
    return Holder(*row) if row is not None else None


async def recipient(connection: AsyncConnection, *, login: str) -> Recipient | None:
    """The open account of a username or an address, if it has an address to write to."""
    row = (await connection.execute(_recipient, {"login": login})).one_or_none()
    return Recipient(*row) if row is not None else None


async def replace(connection: AsyncConnection, *, user_id: int, new: str) -> None:
    """The caller holds the row, and has made sure that the password is still the one that was verified."""
    await connection.execute(_replace, {"id": user_id, "new": new})
