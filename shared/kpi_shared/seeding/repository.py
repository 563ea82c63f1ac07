"""The SQL of seeders. It is made from the table that a seeder names, so it stands here once and not in each service."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnClause, Table, column, func, select, table
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection


async def count_rows(connection: AsyncConnection, model: type) -> int:
    return int(await connection.scalar(select(func.count()).select_from(_table_of(model))) or 0)


async def find_highest_id(connection: AsyncConnection, model: type) -> int:
    """The highest id of a table, 0 if it is empty."""
    return int(await connection.scalar(select(func.max(_table_of(model).c.id))) or 0)


async def find_values(connection: AsyncConnection, *, place: str, most: int) -> Sequence[Any]:
    """The newest values of ``posts.id``."""
    name, _, key = place.partition(".")
    value: ColumnClause[Any] = column(key)
    newest = select(value).select_from(table(name)).order_by(value.desc()).limit(most)
    return (await connection.scalars(newest)).all()


async def add_rows(connection: AsyncConnection, model: type, rows: Sequence[Mapping[str, Any]]) -> int:
    """Add rows except those whose unique values are taken, and return how many were added."""
    to = _table_of(model)
    added = insert(to).on_conflict_do_nothing().returning(to.c.id)
    return len((await connection.execute(added, rows)).all())


def _table_of(model: type) -> Table:
    found: Table = model.__table__  # type: ignore[attr-defined]
    return found
