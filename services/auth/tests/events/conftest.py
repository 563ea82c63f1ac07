"""A migrated database whose events no running service numbers."""

from collections.abc import AsyncIterator

import pytest
from kpi_auth.settings import PART, AuthSettings
from kpi_shared.database import Database
from kpi_shared.migrations import upgrade
from kpi_shared.testing.postgres import create_database
from pydantic import SecretStr
from sqlalchemy import text

CONNECTIONS = 12


@pytest.fixture(scope="package")
def quiet_settings(settings: AuthSettings, worker: str) -> AuthSettings:
    address = SecretStr(create_database(f"auth_events_{worker}"))
    quiet = settings.model_copy(update={"database_url": address, "database_pool_size": CONNECTIONS})
    upgrade(PART, quiet)
    return quiet


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
