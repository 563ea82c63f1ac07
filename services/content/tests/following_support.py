"""The service as it follows two stand-ins for auth's feed."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from fastapi import FastAPI
from feed_stand_in import KEY, StandIn
from kpi_content.app import create_app
from kpi_content.settings import ContentSettings
from kpi_shared.caller import Role, Scope
from kpi_shared.testing.client import client_of, running
from kpi_shared.tokens import TokenCodec
from pydantic import SecretStr
from sqlalchemy import text


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
    def settled(self) -> bool:
        """Whether all events of the first stand-in are in the database."""
        return self.app.state.follower.seq == self.feeds[0].seq == self.app.state.inbox.seq

    @property
    def followed(self) -> bool:
        return self.age < 1

    def token(
        self,
        *,
        sid: str = "1",
        version: int | None = 1,
        user: int = 11,
        seconds: float = 300,
        key_seconds: float | None = None,
    ) -> dict[str, str]:
        scopes = [Scope.READ, Scope.WRITE] if sid.startswith("key-") else None
        key_end = None if key_seconds is None else datetime.now(UTC) + timedelta(seconds=key_seconds)
        token = self.tokens.mint(
            user_id=user,
            username=f"user{user}",
            role=Role.USER,
            session_id=sid,
            lifetime=timedelta(seconds=seconds),
            account_version=version,
            scopes=scopes,
            api_key_ends_at=key_end,
        )
        return {"Authorization": f"Bearer {token}"}

    def admin(self) -> dict[str, str]:
        lifetime = timedelta(minutes=5)
        token = self.tokens.mint(user_id=1, username="root", role=Role.ADMIN, session_id="1", lifetime=lifetime)
        return {"Authorization": f"Bearer {token}"}

    async def execute(self, statement: str, **values: object) -> None:
        async with self.app.state.database.writing() as connection:
            await connection.execute(text(statement), values)

    async def rows(self, statement: str) -> list[tuple[Any, ...]]:
        async with self.app.state.database.reading() as connection:
            return [tuple(row) for row in await connection.execute(text(statement))]

    async def read(self, headers: dict[str, str]) -> int:
        return (await self.client.get("/posts", headers=headers)).status_code

    async def write(self, headers: dict[str, str]) -> int:
        body = {"title": "A title", "content": ""}
        return (await self.client.post("/posts", json=body, headers=headers)).status_code


Follow = Callable[..., AbstractAsyncContextManager[Following]]


@asynccontextmanager
async def run_following(
    settings: ContentSettings, feeds: tuple[StandIn, StandIn], **more: object
) -> AsyncIterator[Following]:
    """Run the service; ``more`` are settings of it."""
    addresses = tuple(feed.address for feed in feeds)
    given = {"auth_internal_url": addresses, "feed_key": SecretStr(KEY), **more}
    async with running(create_app(settings.model_copy(update=given))) as app, client_of(app) as client:
        yield Following(app, client, TokenCodec.of(settings), feeds)


Follow = Callable[..., AbstractAsyncContextManager[Following]]
