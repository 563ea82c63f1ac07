"""The SQL of authors."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import CTE, Select, SQLColumnExpression, bindparam, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from kpi_content.authors.models import Author

_remember_all = text("""
    INSERT INTO authors AS known (id, username)
    SELECT id, username FROM unnest(CAST(:ids AS bigint[]), CAST(:usernames AS text[])) AS given (id, username)
    -- An unchanged name writes no new row version.
    ON CONFLICT (id) DO UPDATE SET username = excluded.username WHERE known.username <> excluded.username
""")


# For statements on other tables, which get their author's name by ``join_author``.
author_name = col(Author.username)


def join_author(statement: Select[*tuple[Any, ...]], owner_id: SQLColumnExpression[int]) -> Select[*tuple[Any, ...]]:
    """Join the author whose id is ``owner_id``."""
    return statement.join(Author, col(Author.id) == owner_id)


def remember_author() -> CTE:
    """Add the author, or update the username, as a part of a statement with ``owner_id`` and ``username``."""
    given = insert(Author).values(id=bindparam("owner_id"), username=bindparam("username"))
    has_new_name = col(Author.username) != given.excluded.username
    known = given.on_conflict_do_update(
        index_elements=[col(Author.id)], set_={"username": given.excluded.username}, where=has_new_name
    )
    return known.returning(col(Author.id)).cte("known")


async def remember_all(connection: AsyncConnection, *, usernames: Mapping[int, str]) -> None:
    """Add or update many authors, in a statement of its own; ``usernames`` are keyed by user id."""
    await connection.execute(_remember_all, {"ids": list(usernames), "usernames": list(usernames.values())})
