"""Which errors a connection survives, and statements whose plans are out of date."""

import asyncio
from typing import Any

import psycopg
import pytest
from kpi_shared.database import Database
from psycopg.errors import FeatureNotSupported
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, NotSupportedError

pytestmark = pytest.mark.anyio
Administrator = psycopg.AsyncConnection[Any]
_READ = "SELECT id, name FROM widened WHERE id = 1"


@pytest.fixture
async def widened(administrator: Administrator) -> None:
    """A table with a column that a migration widens."""
    await administrator.execute("DROP TABLE IF EXISTS widened")
    await administrator.execute("CREATE TABLE widened (id int PRIMARY KEY, name varchar(32))")
    await administrator.execute("INSERT INTO widened VALUES (1, 'anna')")


async def widen(administrator: Administrator) -> None:
    await administrator.execute("ALTER TABLE widened ALTER COLUMN name TYPE varchar(255)")


async def pids(database: Database) -> list[int]:
    """The server's processes of the connections that both pools lend next."""
    found = []
    for opened in (database.reading(), database.writing()):
        async with opened as connection:
            found.append(await connection.scalar(text("SELECT pg_backend_pid()")))
    return found


@pytest.mark.parametrize(
    ("statement", "is_kept"),
    [
        ("SELECT 1/0", True),
        ("INSERT INTO widened VALUES (1, 'bert')", True),
        ("SELECT nothing", False),
        ("DO $$ BEGIN RAISE internal_error; END $$", False),
        ("DO $$ BEGIN RAISE out_of_memory; END $$", False),
        ("DO $$ BEGIN RAISE cannot_connect_now; END $$", False),
        ("DO $$ BEGIN RAISE deadlock_detected; END $$", True),
    ],
)
@pytest.mark.usefixtures("widened")
async def test_a_connection_survives_errors_of_data_only(statement: str, is_kept: bool, database: Database) -> None:
    reading, writing = await pids(database)
    with pytest.raises(DBAPIError):
        async with database.reading() as connection:
            await connection.execute(text(statement))
    with pytest.raises(DBAPIError):
        async with database.writing() as connection:
            await connection.execute(text(statement))
    after = await pids(database)
    assert [after[0] == reading, after[1] == writing] == [is_kept, is_kept]
    with pytest.raises(psycopg.Error):
        async with database.direct() as driver_connection:
            await driver_connection.execute(statement.encode())
    assert ((await pids(database))[0] == after[0]) == is_kept


async def test_a_refusal_by_the_driver_keeps_the_connection(database: Database) -> None:
    before = await pids(database)
    with pytest.raises(DBAPIError):
        async with database.reading() as connection:
            await connection.execute(text("SELECT CAST(:name AS text)"), {"name": "a\0b"})
    assert await pids(database) == before


@pytest.mark.usefixtures("widened")
async def test_a_stale_plan_is_made_anew(database: Database, administrator: Administrator) -> None:
    async def read_all() -> None:
        for opened in (database.reading(), database.writing()):
            async with opened as connection:
                assert (await connection.execute(text(_READ))).one() == (1, "anna")
        async with database.direct() as connection:
            assert await (await connection.execute(_READ, prepare=True)).fetchall() == [(1, "anna")]

    for _ in range(10):
        await read_all()
    before = await pids(database)
    for _ in range(2):
        await widen(administrator)
        for _ in range(10):
            await read_all()
        await administrator.execute("ALTER TABLE widened ALTER COLUMN name TYPE text")
    # Not by new connections.
    assert await pids(database) == before


@pytest.mark.usefixtures("widened")
async def test_no_statement_fails_while_columns_are_widened_under_load(
    database: Database, administrator: Administrator
) -> None:
    reads = asyncio.Semaphore(0)

    async def load() -> None:
        while True:
            async with database.direct() as connection:
                await connection.execute(_READ, prepare=True)
            async with database.reading() as connection:
                await connection.execute(text(_READ))
            async with database.writing() as connection:
                await connection.execute(text(_READ))
            reads.release()

    async def wait_for_reads() -> None:
        for _ in range(60):
            await reads.acquire()

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        tasks = [group.create_task(load()) for _ in range(4)]
        for length in (64, 128, 255):
            await wait_for_reads()
            await administrator.execute(f"ALTER TABLE widened ALTER COLUMN name TYPE varchar({length})".encode())
        await wait_for_reads()
        for task in tasks:
            task.cancel()


@pytest.mark.usefixtures("widened")
async def test_a_stale_plan_later_in_a_transaction_fails_once(database: Database, administrator: Administrator) -> None:
    async def read_late() -> None:
        async with database.writing() as connection:
            await connection.execute(text("SELECT 1"))
            await connection.execute(text(_READ))

    for _ in range(10):
        await read_late()
    await widen(administrator)
    with pytest.raises(NotSupportedError) as raised:
        await read_late()
    assert isinstance(raised.value.orig, FeatureNotSupported)
    # All connections forget their plans, not only this one.
    for _ in range(10):
        await read_late()
