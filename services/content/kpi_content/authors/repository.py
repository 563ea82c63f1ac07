"""The SQL of authors."""

from collections.abc import Mapping

from kpi_shared.tokens import Subject
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_remember = text("""
    INSERT INTO authors AS known (id, username)
    SELECT id, username FROM unnest(CAST(:ids AS bigint[]), CAST(:usernames AS text[])) AS given (id, username)
    -- An unchanged name writes no new row version.
    ON CONFLICT (id) DO UPDATE SET username = excluded.username WHERE known.username <> excluded.username
""")


async def remember(connection: AsyncConnection, *, author: Subject) -> None:
    """Know who writes: the first write adds the author, and one under a new name renames them."""
    await remember_all(connection, usernames={author.id: author.username})


async def remember_all(connection: AsyncConnection, *, usernames: Mapping[int, str]) -> None:
    """The same for many, in one statement; ``usernames`` are by the users' ids."""
    await connection.execute(_remember, {"ids": list(usernames), "usernames": list(usernames.values())})
