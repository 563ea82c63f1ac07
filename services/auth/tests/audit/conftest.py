"""A migrated database of its own, in which the tests are the owner."""

from collections.abc import AsyncIterator

import pytest
from audit_support import Trail
from kpi_auth.settings import PART, AuthSettings
from kpi_shared.database import Database
from kpi_shared.migrations import upgrade
from kpi_shared.testing.postgres import create_database
from pydantic import SecretStr


@pytest.fixture(scope="session")
def own_settings(worker: str, settings: AuthSettings) -> AuthSettings:
    own = settings.model_copy(update={"database_url": SecretStr(create_database(f"audit_{worker}"))})
    upgrade(PART, own)
    return own


@pytest.fixture
async def trail(own_settings: AuthSettings) -> AsyncIterator[Trail]:
    database = Database(own_settings)
    trail = Trail(own_settings, database)
    yield trail
    async with trail.owner() as owner:
        await owner.run("TRUNCATE audit_events, audit_checkpoints RESTART IDENTITY")
    await database.close()
