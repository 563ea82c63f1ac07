"""A gateway that accepts API keys, and a stand-in for auth's internal port that counts what it is asked."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from gateway_support import Echo, gateway, responding, serving
from kpi_shared.api_key_form import checksum
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

INTERNAL_KEY = secrets.token_hex(32)


def make_key(key_id: int = 1) -> str:
    body = f"kpi_test_{key_id}_{secrets.token_hex(22)[:43]}"
    return body + checksum(body)


def header(key: str) -> dict[str, str]:
    return {"X-API-Key": key}


def problem(status: int, type_: str) -> Response:
    return JSONResponse({"type": type_}, status)


@dataclass
class Auth:
    """The internal port: responds to every exchange with ``grant``, unless there is a ``response``.

    ``results`` are those of single keys. An old one does not know exchanges of several keys.
    """

    exchanged: list[str] = field(default_factory=list)
    reports: list[dict[str, Any]] = field(default_factory=list)
    grant: dict[str, Any] = field(default_factory=dict)
    response: Response | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    timeouts: list[str] = field(default_factory=list)
    results: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    is_old: bool = False
    # The keys of tokens that the gateway has reported, and those that auth says were killed.
    holdings: list[dict[str, Any]] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)
    # How many keys each exchange had.
    batches: list[int] = field(default_factory=list)

    async def respond(self, request: Request) -> Response:
        assert request.headers["authorization"] == f"Bearer {INTERNAL_KEY}"
        members = await request.json()
        if request.url.path.endswith("/holders"):
            self.holdings.append(members)
            return JSONResponse({"killed": self.killed})
        if request.url.path.endswith("/uses"):
            self.reports.append(members)
            return Response(status_code=204)
        if self.is_old and "keys" in members:
            return problem(404, "not-found")
        keys = members.get("keys") or [members["key"]]
        self.exchanged += keys
        self.batches.append(len(keys))
        self.timeouts.append(request.headers["x-request-timeout"])
        await self.gate.wait()
        if self.response is not None:
            return self.response
        if "keys" in members:
            return JSONResponse({"exchanged": [self.exchange(key) for key in keys]})
        return JSONResponse(self.exchange(keys[0]))

    def exchange(self, key: str) -> dict[str, Any] | None:
        if key in self.results:
            return self.results[key]
        granted = {"key_id": int(key.split("_")[2]), "user_id": 7, "scopes": ["read"]}
        limits = {"allowed_networks": [], "rate_limit": None, "key_expires_at": None}
        token = {"access_token": f"v4.local.{len(self.exchanged)}", "expires_in": 60}
        return granted | limits | token | self.grant


@dataclass
class Setup:
    auth: Auth
    echo: Echo
    client: httpx.AsyncClient


@asynccontextmanager
async def keyed_gateway(**settings: object) -> AsyncIterator[Setup]:
    auth, echo = Auth(), Echo()
    auth.gate.set()
    async with serving(responding(auth.respond)) as internal, serving(echo) as upstream:
        given = {"auth_internal_url": internal, "internal_key": INTERNAL_KEY}
        urls = {"auth_url": upstream, "content_url": upstream}
        async with (
            gateway(**{**urls, **given, **settings}) as address,
            httpx.AsyncClient(base_url=address, trust_env=False, timeout=20) as client,
        ):
            yield Setup(auth, echo, client)
