"""Users and posts for tests."""

from typing import Any

import httpx
from fastapi import FastAPI
from kpi_shared.testing.callers import ADMIN, ANNA, BERT, Caller, assert_problem, caller
from sqlalchemy import text

__all__ = ["ADMIN", "ANNA", "BERT", "Caller", "Posts", "assert_problem", "caller"]


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
