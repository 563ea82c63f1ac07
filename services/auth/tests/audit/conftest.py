"""A migrated database of its own, in which the tests are the owner."""

from collections.abc import AsyncIterator

import pytest
from audit_support import Trail
from kpi_auth.settings import AuthSettings
from kpi_shared.database import Database
from kpi_shared.testing.postgres import create_migrated_database
from pydantic import SecretStr


@pytest.fixture(scope="session")
def own_settings(worker: str, settings: AuthSettings) -> AuthSettings:
    return settings.model_copy(
        update={"database_url": SecretStr(create_migrated_database("kpi_auth", f"audit_{worker}"))}
    )


@pytest.fixture
async def trail(own_settings: AuthSettings) -> AsyncIterator[Trail]:
    database = Database(own_settings)
    trail = Trail(own_settings, database)
    yield trail
    async with trail.owner() as owner:
        await owner.run("TRUNCATE audit_events, audit_checkpoints RESTART IDENTITY")
    await database.close()
