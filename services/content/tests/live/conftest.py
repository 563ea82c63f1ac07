"""Two processes of the service on one database, where one writes and the other is read."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from content_support import Caller
from kpi_content.settings import ContentSettings
from kpi_shared.database import Database
from kpi_shared.testing.postgres import create_migrated_database
from kpi_shared.testing.process import start_part
from live_support import Conversation, create_conversation, environment_of
from pydantic import SecretStr


@pytest.fixture(scope="session")
def live_settings(worker: str, secret_key: str) -> ContentSettings:
    url = SecretStr(create_migrated_database("kpi_content", f"content_live_{worker}"))
    return ContentSettings(database_url=url, listen_database_url=url, paseto_secret_key=SecretStr(secret_key))


@pytest.fixture(scope="session")
def replicas(live_settings: ContentSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    folder = tmp_path_factory.mktemp("live")
    environment = environment_of(live_settings)
    with (
        start_part("kpi_content", environment, log=folder / "one.log") as one,
        start_part("kpi_content", environment, log=folder / "two.log") as two,
    ):
        yield one, two


@pytest.fixture
async def live_database(live_settings: ContentSettings) -> AsyncIterator[Database]:
    database = Database(live_settings)
    yield database
    await database.close()


@pytest.fixture
async def conversation(replicas: tuple[str, str], live_database: Database, anna: Caller) -> AsyncIterator[Conversation]:
    async with httpx.AsyncClient(timeout=30) as client:
        yield await create_conversation(replicas, live_database, client, anna)
