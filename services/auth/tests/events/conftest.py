"""A migrated database whose events no running service numbers."""

from collections.abc import AsyncIterator

import pytest
from kpi_auth.settings import AuthSettings
from kpi_shared.database import Database
from kpi_shared.testing.postgres import create_migrated_database
from pydantic import SecretStr
from sqlalchemy import text

CONNECTIONS = 12


@pytest.fixture(scope="package")
def quiet_settings(settings: AuthSettings, worker: str) -> AuthSettings:
    address = SecretStr(create_migrated_database("kpi_auth", f"auth_events_{worker}"))
    return settings.model_copy(update={"database_url": address, "database_pool_size": CONNECTIONS})


@pytest.fixture
async def database(quiet_settings: AuthSettings) -> AsyncIterator[Database]:
    database = Database(quiet_settings)
    try:
        yield database
        async with database.writing() as connection:
            await connection.execute(text("TRUNCATE users, events CASCADE"))
            await connection.execute(text("UPDATE event_horizon SET seq = 0"))
    finally:
        await database.close()
