"""The connections that an endpoint asks for by the type of a parameter."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_shared.database.driver import ServiceConnection, get_direct
from kpi_shared.database.pools import Database


async def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


DatabaseOfApp = Annotated[Database, Depends(_database)]


async def _reader(database: DatabaseOfApp) -> AsyncIterator[AsyncConnection]:
    async with database.reading() as connection:
        yield connection


async def _writer(database: DatabaseOfApp) -> AsyncIterator[AsyncConnection]:
    async with database.writing() as connection:
        yield connection


async def _direct_writer(database: DatabaseOfApp) -> AsyncIterator[ServiceConnection]:
    async with database.writing() as connection:
        yield await get_direct(connection)


# With this scope all end with the endpoint function, before the response is sent: a client that has its response finds
# the row, and a slow client holds no connection.
Reader = Annotated[AsyncConnection, Depends(_reader, scope="function")]
Writer = Annotated[AsyncConnection, Depends(_writer, scope="function")]
# The driver's own connection, within a transaction.
DirectWriter = Annotated[ServiceConnection, Depends(_direct_writer, scope="function")]
