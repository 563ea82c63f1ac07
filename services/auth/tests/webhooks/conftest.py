"""A database of their own for tests of webhooks that commit, and workers on it."""

from collections.abc import AsyncIterator

import pytest
from auth_support import context_with
from kpi_auth.context import Context
from kpi_auth.settings import AuthSettings
from kpi_auth.webhooks.destinations import build_destinations, build_sender
from kpi_auth.webhooks.worker import WebhookTimes, WebhookWorker
from kpi_kit.resolver import SystemResolver
from kpi_shared.database import Database
from kpi_shared.testing.postgres import create_migrated_database
from pydantic import SecretStr
from sqlalchemy import text
from webhook_support import NewWorker, sign_in_root

# No test waits for the clock: polls and delays are short, and leases and attempts long; no attempt is slow.
QUICK = WebhookTimes(poll=0.01, lease=600, slow=600, first_delay=0.01, longest_delay=0.02, grace=5)


@pytest.fixture(scope="module")
def webhook_settings(worker: str, secret_key: str) -> AuthSettings:
    return AuthSettings(
        database_url=SecretStr(create_migrated_database("kpi_auth", f"webhooks_{worker}")),
        paseto_secret_key=SecretStr(secret_key),
        webhook_allowed_networks=("127.0.0.0/8",),
        webhook_allow_http=True,
    )


@pytest.fixture
async def database(webhook_settings: AuthSettings) -> AsyncIterator[Database]:
    database = Database(webhook_settings)
    await sign_in_root(database)
    yield database
    async with database.writing() as connection:
        await connection.execute(text("TRUNCATE webhooks, events CASCADE"))
    await database.close()


@pytest.fixture
def context(webhook_settings: AuthSettings, database: Database) -> Context:
    return context_with(webhook_settings, database)


@pytest.fixture
def new_worker(context: Context, webhook_settings: AuthSettings) -> NewWorker:
    """Makes a worker; each argument replaces a time of ``QUICK``."""

    def create(*, seconds: float = 30, **times: object) -> WebhookWorker:
        destinations = build_destinations(webhook_settings, SystemResolver())
        return WebhookWorker(context, build_sender(destinations, seconds=seconds), QUICK._replace(**times))  # type: ignore[arg-type]

    return create
