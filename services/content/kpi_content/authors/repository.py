"""The SQL of authors."""

from collections.abc import Mapping

from sqlalchemy import CTE, bindparam, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from kpi_content.authors.models import Author

_remember = text("""
    INSERT INTO authors AS known (id, username)
    SELECT id, username FROM unnest(CAST(:ids AS bigint[]), CAST(:usernames AS text[])) AS given (id, username)
    -- An unchanged name writes no new row version.
    ON CONFLICT (id) DO UPDATE SET username = excluded.username WHERE known.username <> excluded.username
""")


def remembered() -> CTE:
    """Know who writes, as a part of the statement that writes, with its ``owner_id`` and ``username``.

    The first write adds the author, and one under a new name renames them.
    """
    given = insert(Author).values(id=bindparam("owner_id"), username=bindparam("username"))
    renamed = col(Author.username) != given.excluded.username
    known = given.on_conflict_do_update(
        index_elements=[col(Author.id)], set_={"username": given.excluded.username}, where=renamed
    )
    return known.returning(col(Author.id)).cte("known")


async def remember_all(connection: AsyncConnection, *, usernames: Mapping[int, str]) -> None:
    """The same for many, in a statement of its own; ``usernames`` are by the users' ids."""
    await connection.execute(_remember, {"ids": list(usernames), "usernames": list(usernames.values())})
