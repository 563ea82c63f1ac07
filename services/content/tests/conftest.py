"""The content service in this process, on a migrated database of its own, and people who sign in to it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from kpi_content.app import create_app
from kpi_content.settings import PART, ContentSettings
from kpi_shared.database import Database
from kpi_shared.migrations import upgrade
from kpi_shared.testing.client import client_of, running
from kpi_shared.testing.database import RollbackDatabase, rolled_back
from kpi_shared.testing.postgres import create_database
from kpi_shared.tokens import Role, TokenCodec
from pydantic import SecretStr
from sqlalchemy import text

Headers = dict[str, str]
SignIn = Callable[..., Headers]
Write = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture(scope="session")
def settings(worker: str, secret_key: str) -> ContentSettings:
    settings = ContentSettings(
        database_url=SecretStr(create_database(f"content_{worker}")),
        paseto_secret_key=SecretStr(secret_key),
    )
    upgrade(PART, settings)
    return settings


@pytest.fixture(scope="session")
async def running_app(settings: ContentSettings) -> AsyncIterator[FastAPI]:
    async with running(create_app(settings)) as app:
        yield app


@pytest.fixture
async def database(running_app: FastAPI) -> AsyncIterator[RollbackDatabase]:
    async with rolled_back(running_app.state.database) as database:
        yield database


@pytest.fixture
def app(running_app: FastAPI, database: RollbackDatabase, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    monkeypatch.setitem(running_app.state._state, "database", database)
    return running_app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app) as client:
        yield client


@pytest.fixture
async def committed(running_app: FastAPI) -> AsyncIterator[Database]:
    """The real pool, whose commits other connections see; every table is emptied afterwards."""
    database: Database = running_app.state.database
    yield database
    async with database.writing() as connection:
        await connection.execute(text("TRUNCATE authors, posts, votes, post_imports"))


@pytest.fixture
async def committed_client(running_app: FastAPI, committed: Database) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(running_app) as client:
        yield client


@pytest.fixture(scope="session")
def sign_in(settings: ContentSettings) -> SignIn:
    """Make the headers of a user, as they are after signing in at the auth service."""
    codec = TokenCodec.of(settings)

    def headers(user_id: int, username: str | None = None, *, role: Role = Role.USER) -> Headers:
        name = username or f"user{user_id}"
        token = codec.mint(
            user_id=user_id, username=name, role=role, session_id="session", lifetime=timedelta(minutes=5)
        )
        return {"Authorization": f"Bearer {token}"}

    return headers


@pytest.fixture(scope="session")
def anna(sign_in: SignIn) -> Headers:
    return sign_in(11, "anna")


@pytest.fixture(scope="session")
def bert(sign_in: SignIn) -> Headers:
    return sign_in(22, "bert")


@pytest.fixture(scope="session")
def admin(sign_in: SignIn) -> Headers:
    return sign_in(33, "root", role=Role.ADMIN)


@pytest.fixture
def write(client: httpx.AsyncClient, anna: Headers) -> Write:
    """Post something, as anna unless told otherwise, and return it as it was answered."""

    async def post(title: str = "A title", *, by: Headers | None = None, **more: Any) -> dict[str, Any]:
        body = {"title": title, "content": "", **more}
        answer = await client.post("/posts", json=body, headers=by or anna)
        assert answer.status_code == 201, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    return post
