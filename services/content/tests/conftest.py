"""The content service in this process on a migrated database of its own, and the users who send requests."""

from collections.abc import AsyncIterator, Callable
from functools import partial

import httpx
import pytest
from content_support import ADMIN, ANNA, BERT, Caller, Posts, caller
from conversations_support import Conversations
from fastapi import FastAPI
from feed_stand_in import StandIn, stand_in
from following_support import Follow, run_following
from kpi_content.app import create_app
from kpi_content.search.errors import SearchBusyError
from kpi_content.settings import ContentSettings
from kpi_shared.caller import Role
from kpi_shared.database import Database
from kpi_shared.places import Places
from kpi_shared.testing.client import client_of, running
from kpi_shared.testing.database import empty_tables, roll_back_after
from kpi_shared.testing.postgres import create_migrated_database
from kpi_shared.tokens import TokenCodec
from pydantic import SecretStr


@pytest.fixture(scope="session")
def settings(worker: str, secret_key: str, tmp_path_factory: pytest.TempPathFactory) -> ContentSettings:
    return ContentSettings(
        database_url=SecretStr(create_migrated_database("kpi_content", f"content_{worker}")),
        paseto_secret_key=SecretStr(secret_key),
        files_url=tmp_path_factory.mktemp("files").as_uri(),
    )


@pytest.fixture(scope="session")
async def running_app(settings: ContentSettings) -> AsyncIterator[FastAPI]:
    async with running(create_app(settings)) as app:
        # The client of these tests reads a response whole, so streams end after their first event.
        app.state.hub.end_streams()
        yield app


@pytest.fixture
async def app(running_app: FastAPI) -> AsyncIterator[FastAPI]:
    """The running application on a database that is rolled back after the test."""
    state = running_app.state
    database, tokens, cursors = state.database, state.tokens, state.cursors
    async with roll_back_after(database) as state.database:
        yield running_app
    state.database, state.tokens, state.cursors = database, tokens, cursors


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app) as client:
        yield client


@pytest.fixture
async def committing_app(running_app: FastAPI) -> AsyncIterator[FastAPI]:
    """The running application on its pool of real connections. All tables are emptied after the test."""
    yield running_app
    async with running_app.state.database.writing() as connection:
        await empty_tables(connection)


@pytest.fixture
async def committing_client(committing_app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(committing_app) as client:
        yield client


@pytest.fixture(scope="session")
def tokens(settings: ContentSettings) -> TokenCodec:
    """The codec with which the auth service issues tokens."""
    return TokenCodec.of(settings)


@pytest.fixture(scope="session")
def user(tokens: TokenCodec) -> Callable[[int], Caller]:
    return lambda user_id: caller(tokens, user_id, f"user{user_id}")


@pytest.fixture(scope="session")
def anna(tokens: TokenCodec) -> Caller:
    return caller(tokens, ANNA, "anna")


@pytest.fixture(scope="session")
def bert(tokens: TokenCodec) -> Caller:
    return caller(tokens, BERT, "bert")


@pytest.fixture(scope="session")
def admin(tokens: TokenCodec) -> Caller:
    return caller(tokens, ADMIN, "root", role=Role.ADMIN)


@pytest.fixture
def posts(app: FastAPI, client: httpx.AsyncClient, anna: Caller) -> Posts:
    return Posts(app, client, anna)


@pytest.fixture
def committed_posts(committing_app: FastAPI, committing_client: httpx.AsyncClient, anna: Caller) -> Posts:
    return Posts(committing_app, committing_client, anna)


@pytest.fixture
def conversations(client: httpx.AsyncClient, posts: Posts, anna: Caller) -> Conversations:
    return Conversations(client, posts, anna)


@pytest.fixture
def committed_conversations(
    committing_client: httpx.AsyncClient, committed_posts: Posts, anna: Caller
) -> Conversations:
    return Conversations(committing_client, committed_posts, anna)


@pytest.fixture
async def one_place(app: FastAPI) -> AsyncIterator[Places]:
    """One place and one request that may wait for it."""
    before = app.state.search_places
    app.state.search_places = Places(1, waiting=1, patience=30, usual=0.01, refusal=SearchBusyError)
    yield app.state.search_places
    app.state.search_places = before


@pytest.fixture
async def feeds() -> AsyncIterator[tuple[StandIn, StandIn]]:
    async with stand_in() as first, stand_in() as second:
        yield first, second


@pytest.fixture(scope="session")
def following_settings(worker: str, secret_key: str) -> ContentSettings:
    """The settings of a database of its own, into which services write in the background."""
    return ContentSettings(
        database_url=SecretStr(create_migrated_database("kpi_content", f"content_following_{worker}")),
        paseto_secret_key=SecretStr(secret_key),
    )


@pytest.fixture
async def follow(following_settings: ContentSettings, feeds: tuple[StandIn, StandIn]) -> AsyncIterator[Follow]:
    """Run a service that follows the feeds; all tables are emptied after the test."""
    yield partial(run_following, following_settings, feeds)
    database = Database(following_settings)
    async with database.writing() as connection:
        await empty_tables(connection)
    await database.close()
