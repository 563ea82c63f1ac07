"""A locked table, or a locked row, while other statements go on."""

import asyncio
from collections import Counter
from typing import Any

import psycopg
import pytest
from kpi_shared.database import Database
from psycopg.errors import LockNotAvailable, QueryCanceled
from sqlalchemy import text

pytestmark = pytest.mark.anyio
Administrator = psycopg.AsyncConnection[Any]


@pytest.fixture
async def tables(administrator: Administrator) -> None:
    await administrator.execute("DROP TABLE IF EXISTS locked, free")
    await administrator.execute("CREATE TABLE locked (id int PRIMARY KEY); CREATE TABLE free (id int PRIMARY KEY)")
    await administrator.execute("INSERT INTO locked VALUES (1), (2)")


_READ = {"locked": b"SELECT id FROM locked", "free": b"SELECT id FROM free"}


async def read(database: Database, table: str) -> str:
    try:
        async with database.direct() as connection:
            await connection.execute(_READ[table])
    except (LockNotAvailable, QueryCanceled) as error:
        return type(error).__name__
    return "done"


async def read_until_done(database: Database) -> None:
    while True:
        if await read(database, "locked") == "done":
            return
        await asyncio.sleep(0.02)


@pytest.mark.usefixtures("tables")
async def test_statements_that_wait_for_a_table_leave_connections_to_others(
    database: Database, administrator: Administrator
) -> None:
    async with administrator.transaction():
        await administrator.execute("LOCK TABLE locked IN ACCESS EXCLUSIVE MODE")
        blocked = [asyncio.create_task(read(database, "locked")) for _ in range(10)]
        free = [asyncio.create_task(read(database, "free")) for _ in range(10)]
        results = await asyncio.gather(*free)
        assert results == ["done"] * 10
        # One of the two connections may wait, and waits for longer than the others take.
        assert not all(task.done() for task in blocked)
        refused = Counter(await asyncio.gather(*blocked))
        assert refused["done"] == 0
    async with asyncio.timeout(10):
        await read_until_done(database)
    assert not database.state.dropped


@pytest.mark.usefixtures("tables")
async def test_a_locked_row_does_not_refuse_the_statement_for_other_rows(
    database: Database, administrator: Administrator
) -> None:
    async def lock(number: int) -> str:
        try:
            async with database.writing() as connection:
                await connection.execute(text("SELECT FROM locked WHERE id = :id FOR UPDATE"), {"id": number})
        except Exception as error:  # noqa: BLE001 SQLAlchemy's
            return type(error.orig).__name__  # type: ignore[attr-defined]
        return "done"

    async with administrator.transaction():
        await administrator.execute("SELECT FROM locked WHERE id = 1 FOR UPDATE")
        blocked = [asyncio.create_task(lock(1)) for _ in range(4)]
        await asyncio.sleep(0)
        assert await lock(2) == "done"
        assert "done" not in await asyncio.gather(*blocked)
    assert await lock(1) == "done"
