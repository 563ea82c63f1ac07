"""A database with the tables of records_support, which are empty in each test."""

from collections.abc import AsyncIterator

import pytest
from kpi_shared.database import Bounds, Database
from kpi_shared.testing.postgres import create_database
from pydantic import SecretStr
from records_support import Settings, Table
from sqlalchemy import text


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def url(worker: str) -> str:
    return create_database(f"records_{worker}")


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    settings = Settings(database_url=SecretStr(url), database_pool_size=4)
    database = Database(settings, bounds=Bounds.of_requests(settings))
    async with database.writing() as connection:
        await connection.run_sync(Table.metadata.create_all)
        await connection.execute(text("TRUNCATE tools, shelves, cases RESTART IDENTITY CASCADE"))
    yield database
    await database.close()
