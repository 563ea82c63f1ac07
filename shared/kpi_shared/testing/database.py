"""A database whose changes are rolled back after each test."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_shared.database import Database, DirectConnection, get_direct
from kpi_shared.database.asking import Answer, Question
from kpi_shared.database.driver import PoolState


class RollbackDatabase(Database):
    """One connection in one transaction that is rolled back after the test; each write is a savepoint."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._lock = asyncio.Lock()
        self.state = PoolState()

    @property
    def is_in_use(self) -> bool:
        """Whether the connection is lent at the moment."""
        return self._lock.locked()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        async with self._lock:
            yield self._connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        async with self._lock, self._connection.begin_nested():
            yield self._connection

    @asynccontextmanager
    async def direct(self) -> AsyncIterator[DirectConnection]:
        async with self.writing() as connection:
            yield await get_direct(connection)

    async def ask(self, question: Question[Answer]) -> Answer:
        async with self.reading() as connection:
            return await question(connection)

    async def close(self) -> None:
        """Do nothing: ``roll_back_after`` closes the connection."""


@asynccontextmanager
async def roll_back_after(database: Database) -> AsyncIterator[RollbackDatabase]:
    """Lend ``database`` to one test and roll its changes back."""
    async with database._writes.connect() as connection:  # noqa: SLF001 the test kit may use the internals
        transaction = await connection.begin()
        # A test may pause for longer than a request does between two statements.
        await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        try:
            yield RollbackDatabase(connection)
        finally:
            await transaction.rollback()


_TABLES = text("""
    SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables
    WHERE schemaname = current_schema() AND tablename <> 'alembic_version' AND tablename <> ALL (:kept)
""")


async def empty_tables(connection: AsyncConnection, *, kept: Collection[str] = ()) -> None:
    """Delete all rows of all tables of a service, except those of the tables ``kept`` that refer to no other."""
    names = await connection.scalar(_TABLES, {"kept": list(kept)})
    await connection.execute(text(f"TRUNCATE {names} CASCADE"))


async def restart_ids(connection: AsyncConnection) -> None:
    """Let the ids of rows begin at 1 again, as in examples. Sequences are not rolled back after a test."""
    await connection.execute(
        text("SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false) FROM pg_sequences")
    )
