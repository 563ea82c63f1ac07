"""The SQL of outside identities, and of the accounts that come of them. Statements are built once."""

from kpi_shared.database import AnyRow
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# The row that this holds is no more than the time of its last use.
_use = text("""
    UPDATE outside_identities SET used_at = now() WHERE issuer = :issuer AND subject = :subject RETURNING user_id
""")
# The numbers of advisory locks are one space for the whole database; two names that share one only wait longer.
_hold = text("SELECT pg_advisory_xact_lock(hashtextextended('outside identity ' || :issuer || ' ' || :subject, 0))")
_link = text("INSERT INTO outside_identities (user_id, issuer, subject) VALUES (:user_id, :issuer, :subject)")
_unlink_all = text("DELETE FROM outside_identities WHERE user_id = :user_id RETURNING id")
_owner_of_verified = text(
    "SELECT id FROM users WHERE email = :email AND email_signs_in AND email_verified_at IS NOT NULL"
)
_is_held = text("SELECT EXISTS (SELECT FROM users WHERE email = :email AND email_signs_in)")
_email_of = text("SELECT email FROM users WHERE id = :id")
_still_verified = text("SELECT email = :email AND email_verified_at IS NOT NULL FROM users WHERE id = :id")
_add_user = text("""
    INSERT INTO users (username, email, email_signs_in, email_verified_at)
    VALUES (:username, CAST(:email AS text), :verified, CASE WHEN :verified THEN now() END)
    ON CONFLICT DO NOTHING
    RETURNING id, username, role
""")


async def use(connection: AsyncConnection, *, issuer: str, subject: str) -> int | None:
    """The user whom the identity is linked to, if it is."""
    values = {"issuer": issuer, "subject": subject}
    return (await connection.execute(_use, values)).scalar_one_or_none()


async def hold(connection: AsyncConnection, *, issuer: str, subject: str) -> None:
    """Keep everybody else from linking this identity until the transaction ends."""
    await connection.execute(_hold, {"issuer": issuer, "subject": subject})


async def link(connection: AsyncConnection, *, user_id: int, issuer: str, subject: str) -> None:
    await connection.execute(_link, {"user_id": user_id, "issuer": issuer, "subject": subject})


async def unlink_all(connection: AsyncConnection, *, user_id: int) -> bool:
    """Forget the account's links; the caller holds the user's row. Were there any?"""
    return bool((await connection.execute(_unlink_all, {"user_id": user_id})).all())


async def owner_of_verified(connection: AsyncConnection, *, email: str) -> int | None:
    """The user who has shown to read this address, whether or not the account is open."""
    return (await connection.execute(_owner_of_verified, {"email": email})).scalar_one_or_none()


async def is_still_verified(connection: AsyncConnection, *, user_id: int, email: str) -> bool:
    return bool(await connection.scalar(_still_verified, {"id": user_id, "email": email}))


async def is_held(connection: AsyncConnection, *, email: str) -> bool:
    """Does the address name an account alone, verified or not?"""
    return bool(await connection.scalar(_is_held, {"email": email}))


async def email_of(connection: AsyncConnection, *, user_id: int) -> str | None:
    found: str | None = await connection.scalar(_email_of, {"id": user_id})
    return found


async def add_user(connection: AsyncConnection, *, username: str, email: str | None, verified: bool) -> AnyRow | None:
    """Insert a user with no password; None when the username, or the verified address, is taken."""
    values = {"username": username, "email": email, "verified": verified}
    return (await connection.execute(_add_user, values)).one_or_none()
