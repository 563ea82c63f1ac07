"""The metrics of the database's connection pools."""

import asyncio

import pytest
from kpi_content.settings import ContentSettings
from kpi_shared.database import Database, register_pool_metrics
from kpi_shared.errors import UnavailableError
from kpi_shared.telemetry.metrics import Metrics
from kpi_shared.testing.metrics import Scrape
from prometheus_client import generate_latest


def read(metrics: Metrics) -> Scrape:
    return Scrape(generate_latest(metrics.registry).decode())


async def test_connections_in_use_and_requests_that_wait(settings: ContentSettings) -> None:
    metrics = Metrics("content")
    database = Database(settings.model_copy(update={"database_pool_size": 1, "database_pool_timeout": 0.1}))
    register_pool_metrics(database, metrics)

    async def use() -> None:
        async with database.reading():
            pass

    async with database.reading():
        waiting = asyncio.create_task(use())
        await asyncio.sleep(0)
        found = read(metrics)
        with pytest.raises(UnavailableError):
            await waiting
    assert found.value("kpi_database_connections", pool="reads", state="size") == 1
    assert found.value("kpi_database_connections", pool="reads", state="in_use") == 1
    assert found.value("kpi_database_connections", pool="writes", state="in_use") == 0
    assert found.value("kpi_database_waiting", pool="reads") == 1
    after = read(metrics)
    assert after.value("kpi_database_connections", pool="reads", state="in_use") == 0
    assert after.value("kpi_database_waiting", pool="reads") == 0
    assert after.value("kpi_database_refused_total", pool="reads") == 1
    await database.close()
