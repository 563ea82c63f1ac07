"""The service with two stand-ins for auth's feed."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import httpx
import pytest
from fastapi import FastAPI
from feed_stand_in import KEY, StandIn, stand_in
from kpi_content.app import create_app
from kpi_content.settings import ContentSettings
from kpi_shared.caller import Role, Scope
from kpi_shared.testing.client import client_of, running
from kpi_shared.testing.database import roll_back_after
from kpi_shared.tokens import TokenCodec
from pydantic import SecretStr


@dataclass(frozen=True)
class Following:
    """A running service that follows ``feeds``."""

    app: FastAPI
    client: httpx.AsyncClient
    tokens: TokenCodec
    feeds: tuple[StandIn, StandIn]

    @property
    def age(self) -> float:
        age: float = self.app.state.revocations.age
        return age

    @property
    def followed(self) -> bool:
        return self.age < 1

    def token(self, *, sid: str = "1", version: int | None = 1, user: int = 11, seconds: float = 300) -> dict[str, str]:
        scopes = [Scope.READ, Scope.WRITE] if sid.startswith("key-") else None
        token = self.tokens.mint(
            user_id=user,
            username=f"user{user}",
            role=Role.USER,
            session_id=sid,
            lifetime=timedelta(seconds=seconds),
            account_version=version,
            scopes=scopes,
        )
        return {"Authorization": f"Bearer {token}"}

    async def read(self, headers: dict[str, str]) -> int:
        return (await self.client.get("/posts", headers=headers)).status_code

    async def write(self, headers: dict[str, str]) -> int:
        body = {"title": "A title", "content": ""}
        return (await self.client.post("/posts", json=body, headers=headers)).status_code


Follow = Callable[..., AbstractAsyncContextManager[Following]]


@pytest.fixture
async def feeds() -> AsyncIterator[tuple[StandIn, StandIn]]:
    async with stand_in() as first, stand_in() as second:
        yield first, second


@pytest.fixture
def follow(settings: ContentSettings, tokens: TokenCodec, feeds: tuple[StandIn, StandIn]) -> Follow:
    """Run the service; ``more`` are settings of it."""

    @asynccontextmanager
    async def follow(**more: object) -> AsyncIterator[Following]:
        addresses = tuple(feed.address for feed in feeds)
        given = {"auth_internal_url": addresses, "feed_key": SecretStr(KEY), **more}
        app = create_app(settings.model_copy(update=given))
        async with running(app), roll_back_after(app.state.database) as database, client_of(app) as client:
            own, app.state.database = app.state.database, database
            try:
                yield Following(app, client, tokens, feeds)
            finally:
                app.state.database = own

    return follow
