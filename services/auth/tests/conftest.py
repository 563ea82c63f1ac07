"""The auth service in this process, on a migrated database of its own."""

import secrets
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from auth_support import Accounts, empty
from destination_support import FixedResolver
from event_support import Watcher
from fastapi import FastAPI
from kpi_auth.app import create_app
from kpi_auth.settings import AuthSettings
from kpi_auth.webhooks.destinations import build_destinations
from kpi_shared.settings import Environment
from kpi_shared.testing.client import client_of, running
from kpi_shared.testing.database import roll_back_after
from kpi_shared.testing.postgres import create_migrated_database
from kpi_shared.tokens import TokenCodec
from pydantic import SecretStr


@pytest.fixture(scope="session")
def settings(worker: str, secret_key: str, tmp_path_factory: pytest.TempPathFactory) -> AuthSettings:
    """Settings with a migrated database, and with a mail server, so that registration does not disclose addresses.

    Hashing is as cheap as argon2 allows.
    """
    return AuthSettings(
        database_url=SecretStr(create_migrated_database("kpi_auth", f"auth_{worker}")),
        paseto_secret_key=SecretStr(secret_key),
        app_env=Environment.PRODUCTION,
        # In production there is no store unless one is named.
        files_url=tmp_path_factory.mktemp("files").as_uri(),
        mail_url=SecretStr("smtp://localhost:1"),
        # Mails stay in the outbox, where tests look for them.
        mail_worker=False,
        webhook_worker=False,
        internal_key=SecretStr(secrets.token_hex(32)),
        feed_key=SecretStr(secrets.token_hex(32)),
        argon2_memory_kib=64,
        argon2_time_cost=1,
    )


@pytest.fixture(scope="session")
async def running_app(settings: AuthSettings) -> AsyncIterator[FastAPI]:
    async with running(create_app(settings)) as app:
        # No test asks a name server.
        app.state.webhook_destinations = build_destinations(settings, FixedResolver(["93.184.215.14"]))
        yield app


@pytest.fixture
async def app(running_app: FastAPI) -> AsyncIterator[FastAPI]:
    """The running application, in a transaction that is rolled back after the test."""
    state = running_app.state
    database, tokens = state.database, state.tokens
    async with roll_back_after(database) as state.database:
        yield running_app
    state.database, state.tokens = database, tokens


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application; each of its requests is checked for the events that it must write."""
    async with client_of(app) as client:
        Watcher(app.state.database).watch(client)
        yield client


@pytest.fixture
def accounts(app: FastAPI, client: httpx.AsyncClient) -> Accounts:
    return Accounts(app, client)


@pytest.fixture
async def committing_app(running_app: FastAPI) -> AsyncIterator[FastAPI]:
    """The running application on its pool of real connections; the database is emptied after the test."""
    yield running_app
    await empty(running_app.state.database)


@pytest.fixture
async def committing_client(committing_app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(committing_app) as client:
        yield client


@pytest.fixture
def shared_client(committing_client: httpx.AsyncClient) -> httpx.AsyncClient:
    """The name in the tests of accounts, next to ``shared_accounts``."""
    return committing_client


@pytest.fixture
def tokens(running_app: FastAPI) -> Iterator[TokenCodec]:
    """The service's codec. Accounts of its tokens are in no table, so no session of theirs is looked for meanwhile."""
    check, running_app.state.session_check = running_app.state.session_check, None
    yield running_app.state.tokens
    running_app.state.session_check = check


@pytest.fixture
def shared_accounts(running_app: FastAPI, shared_client: httpx.AsyncClient) -> Accounts:
    """Accounts on the pool of real connections."""
    return Accounts(running_app, shared_client)
