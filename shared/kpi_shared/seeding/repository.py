"""The SQL of seeders. It is made from the table that a seeder names, so it stands here once and not in each service."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnClause, Table, column, func, select, table
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection


async def count_rows(connection: AsyncConnection, of: Table) -> tuple[int, int]:
    """How many rows the table has, and its highest id."""
    counted = select(func.count(), func.coalesce(func.max(of.c.id), 0))
    number, highest = (await connection.execute(counted)).one()
    return number, highest


async def find_values(connection: AsyncConnection, *, place: str, most: int) -> Sequence[Any]:
    """The newest values of ``posts.id``."""
    name, _, key = place.partition(".")
    value: ColumnClause[Any] = column(key)
    newest = select(value).select_from(table(name)).order_by(value.desc()).limit(most)
    return (await connection.scalars(newest)).all()


async def add_rows(connection: AsyncConnection, to: Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Add rows except those whose unique values are taken, and return how many were added."""
    added = insert(to).on_conflict_do_nothing().returning(to.c.id)
    return len((await connection.execute(added, rows)).all())
