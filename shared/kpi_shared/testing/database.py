"""A database whose every change a test takes back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_shared.database import Database, DirectConnection


class RollbackDatabase(Database):
    """One connection inside one transaction that the test rolls back; a write is a savepoint in it."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._turn = asyncio.Lock()

    @property
    def is_in_use(self) -> bool:
        """Does anyone hold the connection just now?"""
        return self._turn.locked()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        async with self._turn:
            yield self._connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        async with self._turn, self._connection.begin_nested():
            yield self._connection

    @asynccontextmanager
    async def direct(self) -> AsyncIterator[DirectConnection]:
        async with self.writing() as connection:
            yield cast("DirectConnection", (await connection.get_raw_connection()).driver_connection)

    async def close(self) -> None:
        """The connection is the test's."""


@asynccontextmanager
async def roll_back_after(database: Database) -> AsyncIterator[RollbackDatabase]:
    """Hand out ``database`` for one test and leave it as it was."""
    async with database._writes.connect() as connection:  # noqa: SLF001 the kit belongs to the class
        transaction = await connection.begin()
        try:
            yield RollbackDatabase(connection)
        finally:
            await transaction.rollback()
