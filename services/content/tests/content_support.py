"""Users and posts for tests."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
from fastapi import FastAPI
from kpi_shared.caller import Role, Subject
from kpi_shared.tokens import TokenCodec
from sqlalchemy import text

ANNA, BERT, ADMIN = 11, 22, 33


@dataclass(frozen=True)
class Caller:
    """A user as the auth service's token describes them, and the header fields of their requests."""

    subject: Subject
    headers: dict[str, str]


def caller(tokens: TokenCodec, user_id: int, username: str, *, role: Role = Role.USER) -> Caller:
    # Longer than all tests take, on any machine.
    token = tokens.mint(user_id=user_id, username=username, role=role, session_id="1", lifetime=timedelta(hours=3))
    return Caller(tokens.verify(token), {"Authorization": f"Bearer {token}"})


class Posts:
    """Writes posts through the service, and reads and changes its database."""

    def __init__(self, app: FastAPI, client: httpx.AsyncClient, author: Caller) -> None:
        self.app = app
        self.client = client
        self.author = author

    async def add(self, title: str = "A title", *, by: Caller | None = None, **more: object) -> dict[str, Any]:
        """The new post from the response; its author is anna by default."""
        body = {"title": title, "content": "", **more}
        response = await self.client.post("/posts", json=body, headers=(by or self.author).headers)
        assert response.status_code == 201, response.text
        shown: dict[str, Any] = response.json()
        return shown

    async def execute(self, statement: str, **values: object) -> None:
        async with self.app.state.database.writing() as connection:
            await connection.execute(text(statement), values)

    async def rows(self, statement: str, **values: object) -> list[tuple[Any, ...]]:
        async with self.app.state.database.reading() as connection:
            return [tuple(row) for row in await connection.execute(text(statement), values)]


def assert_problem(response: httpx.Response, status: int, slug: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["type"] == slug
