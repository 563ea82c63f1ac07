"""A database of two connections per pool behind a proxy that can go silent."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import ClassVar

import psycopg
import pytest
from kpi_shared.background import running
from kpi_shared.database import Bounds, Database
from kpi_shared.parts import Part
from kpi_shared.settings import DatabaseSettings
from kpi_shared.testing.postgres import create_database
from kpi_shared.testing.silent_proxy import SilentProxy, running_proxy
from pydantic import SecretStr

OpenDatabase = Callable[[str], AbstractAsyncContextManager[Database]]


class Settings(DatabaseSettings):
    part: ClassVar[Part] = Part("sample", "package_that_is_not_there", 1)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def url(worker: str) -> str:
    """A database of this worker's own: others may run tests of the same file at the same time."""
    return create_database(f"shared_database_{worker}")


@pytest.fixture
def proxy(url: str) -> Iterator[SilentProxy]:
    with running_proxy(url) as proxy:
        yield proxy


@pytest.fixture
def open_database() -> OpenDatabase:
    """As a service opens its database."""

    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Database]:
        settings = Settings(database_url=SecretStr(url), database_pool_size=2)
        database = Database(settings, bounds=Bounds.of_requests(settings))
        try:
            async with running(database.watch(), name="watch"):
                yield database
        finally:
            await database.close()

    return opened


@pytest.fixture
async def database(proxy: SilentProxy, open_database: OpenDatabase) -> AsyncIterator[Database]:
    async with open_database(proxy.url) as database:
        yield database


@pytest.fixture
async def administrator(url: str) -> AsyncIterator[psycopg.AsyncConnection[tuple[object, ...]]]:
    """A connection of an operator's, not through the proxy."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        yield connection
