"""The SQL of external identities. Statements are built once; each call only binds its values."""

from collections.abc import Collection

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# This locks the link only, not the user.
_use = text("""
    UPDATE outside_identities SET used_at = now() WHERE issuer = :issuer AND subject = :subject RETURNING user_id
""")
# Advisory locks share one number space per database; two names with the same hash only wait for each other.
_lock = text("SELECT pg_advisory_xact_lock(hashtextextended('outside identity ' || :issuer || ' ' || :subject, 0))")
_link = text("INSERT INTO outside_identities (user_id, issuer, subject) VALUES (:user_id, :issuer, :subject)")
_unlink_all = text("DELETE FROM outside_identities WHERE user_id = :user_id RETURNING id")
_find_linked = text("""
    SELECT DISTINCT user_id FROM outside_identities WHERE user_id = ANY(CAST(:user_ids AS bigint[]))
""")


async def use(connection: AsyncConnection, *, issuer: str, subject: str) -> int | None:
    """The id of the user that the identity is linked to, if any; also updates the time of its last use."""
    values = {"issuer": issuer, "subject": subject}
    return (await connection.execute(_use, values)).scalar_one_or_none()


async def lock(connection: AsyncConnection, *, issuer: str, subject: str) -> None:
    """Prevent other transactions from linking this identity until this one ends."""
    await connection.execute(_lock, {"issuer": issuer, "subject": subject})


async def link(connection: AsyncConnection, *, user_id: int, issuer: str, subject: str) -> None:
    await connection.execute(_link, {"user_id": user_id, "issuer": issuer, "subject": subject})


async def unlink_all(connection: AsyncConnection, *, user_id: int) -> bool:
    """Delete the account's links, and return whether there were any; the caller has locked the user's row."""
    return bool((await connection.execute(_unlink_all, {"user_id": user_id})).all())


async def find_linked(connection: AsyncConnection, *, user_ids: Collection[int]) -> set[int]:
    """Those of the users that have a link to an external identity."""
    return set((await connection.execute(_find_linked, {"user_ids": list(user_ids)})).scalars())
