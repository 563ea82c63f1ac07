"""The auth service in this process, on a migrated database of its own."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from kpi_auth.app import create_app
from kpi_auth.settings import PART, AuthSettings
from kpi_shared.migrations import upgrade
from kpi_shared.testing.client import client_of, running
from kpi_shared.testing.database import RollbackDatabase, rolled_back
from kpi_shared.testing.postgres import create_database
from pydantic import SecretStr


@pytest.fixture(scope="session")
def settings(worker: str, secret_key: str) -> AuthSettings:
    """Settings with a migrated database; hashing is as cheap as argon2 allows."""
    settings = AuthSettings(
        database_url=SecretStr(create_database(f"auth_{worker}")),
        paseto_secret_key=SecretStr(secret_key),
        argon2_memory_kib=64,
        argon2_time_cost=1,
    )
    upgrade(PART, settings)
    return settings


@pytest.fixture(scope="session")
async def running_app(settings: AuthSettings) -> AsyncIterator[FastAPI]:
    async with running(create_app(settings)) as app:
        yield app


@pytest.fixture
async def database(running_app: FastAPI) -> AsyncIterator[RollbackDatabase]:
    async with rolled_back(running_app.state.database) as database:
        yield database


@pytest.fixture
def app(running_app: FastAPI, database: RollbackDatabase, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    monkeypatch.setattr(running_app.state, "database", database)
    return running_app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app) as client:
        yield client
