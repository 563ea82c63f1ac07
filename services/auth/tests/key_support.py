"""API keys for tests, and requests as the gateway makes them."""

from dataclasses import dataclass
from typing import Any

import httpx
from auth_support import Account
from fastapi import FastAPI
from kpi_auth.internal import create_internal_app
from kpi_shared.testing.client import client_of


@dataclass(frozen=True)
class Key:
    """A key as its owner got it."""

    id: int
    text: str
    shown: dict[str, Any]


class Keys:
    """Makes keys through the service and exchanges them as the gateway does."""

    def __init__(self, app: FastAPI, client: httpx.AsyncClient) -> None:
        self.app = app
        self._client = client

    async def add(self, owner: Account, scopes: object = "read write", **more: object) -> Key:
        body = {"name": "a program", "scopes": scopes, **more}
        response = await self._client.post("/api-keys", json=body, headers=owner.headers)
        assert response.status_code == 201, response.text
        shown = response.json()
        return Key(shown["id"], shown.pop("key"), shown)

    async def call(self, path: str, body: object, *, internal_key: str | None = None) -> httpx.Response:
        """A request to the internal port."""
        key = internal_key or self.app.state.settings.internal_key.get_secret_value()
        headers = {"Authorization": f"Bearer {key}".encode("latin-1")}
        async with client_of(create_internal_app(self.app)) as client:
            return await client.post(f"/internal/api-keys{path}", json=body, headers=headers)

    async def exchange(self, text: str) -> httpx.Response:
        return await self.call("/exchange", {"key": text})

    async def headers(self, key: Key) -> dict[str, str]:
        """The header that the gateway passes on in place of the key."""
        response = await self.exchange(key.text)
        assert response.status_code == 200, response.text
        return {"Authorization": f"Bearer {response.json()['access_token']}"}
