"""Accounts for tests, and requests in their name."""

from dataclasses import dataclass
from datetime import timedelta

import httpx
from fastapi import FastAPI
from kpi_shared.tokens import Role, TokenCodec
from sqlalchemy import text

PASSWORD = "a quiet red bicycle"
ADMIN = Role.ADMIN


def registration(username: str, *, email: str | None = None) -> dict[str, str]:
    return {"username": username, "email": email or f"{username}@example.com", "password": PASSWORD}


@dataclass(frozen=True)
class Account:
    id: int
    token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


class Accounts:
    """Registers through the service and looks into its database."""

    def __init__(self, app: FastAPI, client: httpx.AsyncClient) -> None:
        self.app = app
        self._client = client

    async def add(self, username: str) -> Account:
        answer = await self._client.post("/users", json=registration(username))
        assert answer.status_code == 201, answer.text
        token = await self.sign_in(username, PASSWORD)
        assert token
        return Account(answer.json()["id"], token)

    async def sign_in(self, login: str, password: str) -> str | None:
        answer = await self._client.post("/auth/login", json={"username": login, "password": password})
        return str(answer.json()["access_token"]) if answer.is_success else None

    def headers(self, user_id: int, username: str, role: Role) -> dict[str, str]:
        """The headers of a caller with a token of this role, whether or not the account exists."""
        token = self.app.state.tokens.mint(
            user_id=user_id, username=username, role=role, session_id="test", lifetime=timedelta(minutes=1)
        )
        return {"Authorization": f"Bearer {token}"}

    def use_tokens(self, tokens: TokenCodec) -> None:
        """Have the service verify with other keys; the fixture puts its own back."""
        self.app.state.tokens = tokens

    async def execute(self, statement: str, **values: object) -> None:
        async with self.app.state.database.writing() as connection:
            await connection.execute(text(statement), values)

    async def scalar(self, statement: str, **values: object) -> object:
        async with self.app.state.database.reading() as connection:
            found: object = await connection.scalar(text(statement), values)
            return found
