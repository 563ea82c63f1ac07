"""A database with the schema of the queue for each worker, emptied before each test."""

from collections.abc import AsyncIterator

import pytest
import queue_support
from kpi_kit.queue import Queue
from kpi_shared.testing.postgres import create_database

DRIVERS = ("postgresql", "memory", "sync", "fake")


@pytest.fixture(scope="session")
def queue_database(worker: str) -> str:
    url = create_database(f"kit_queue_{worker}")
    queue_support.create_schema(url)
    return url


@pytest.fixture
def database(queue_database: str) -> str:
    queue_support.empty(queue_database)
    return queue_database


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
async def queue(driver: str, database: str) -> AsyncIterator[Queue]:
    async with queue_support.open_queue(driver, database) as opened:
        yield opened
