"""COPY, which SQLAlchemy has no statement for: its driver's connection runs it in the same transaction."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import psycopg
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_shared.database.driver import get_direct


async def copy_rows(connection: AsyncConnection, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
    async with _copy(connection, statement) as copy:
        for row in rows:
            await copy.write_row(row)


async def copy_text(connection: AsyncConnection, statement: str, lines: Iterable[str]) -> None:
    """Send lines that are in COPY's text format already: tabs between values, a line break at the end."""
    async with _copy(connection, statement) as copy:
        await copy.write("".join(lines))


@asynccontextmanager
async def _copy(connection: AsyncConnection, statement: str) -> AsyncIterator[psycopg.AsyncCopy]:
    driver_connection = await get_direct(connection)
    async with driver_connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
        yield copy
