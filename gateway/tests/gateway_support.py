"""Real servers on loopback: the gateway, upstreams that report what reached them, and upstreams that misbehave."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Self
from urllib.parse import urlsplit

import uvicorn
from kpi_gateway.app import create_app
from kpi_gateway.routes import RouteTable
from kpi_gateway.settings import GatewaySettings
from kpi_shared.server.options import uvicorn_options
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

Responder = Callable[[Request], Awaitable[Response]]
RawHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def listener() -> socket.socket:
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    return bound


def address_of(bound: socket.socket) -> str:
    return f"http://127.0.0.1:{bound.getsockname()[1]}"


def closed_port() -> str:
    """An address where nothing listens."""
    with listener() as bound:
        return address_of(bound)


@asynccontextmanager
async def serving(app: ASGIApp, **options: object) -> AsyncIterator[str]:
    """The application under uvicorn, in this process; yields its address."""
    config = uvicorn.Config(app, **uvicorn_options(**options))
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    bound = listener()
    await server.startup([bound])
    # Once; a server that runs by itself does this every tenth of a second to update the Date header.
    await server.on_tick(0)
    try:
        yield address_of(bound)
    finally:
        # Faster than uvicorn's graceful shutdown, which test_process.py covers.
        for listening in server.servers:
            listening.close()
        for connection in list(server.server_state.connections):
            connection.shutdown()
            if connection.cycle is None or connection.cycle.response_complete:
                # A server that stops keeps an idle one for a moment.
                connection.transport.close()
        await server.lifespan.shutdown()


# Of the table of this checkout: the tests' gateways have these two upstreams, whatever services there are.
ROUTES = tuple(row for row in GatewaySettings.model_fields["routes"].default if row.upstream in {"auth", "content"})


@asynccontextmanager
async def gateway(**settings: object) -> AsyncIterator[str]:
    """The gateway. By default nothing listens at its upstreams' addresses, and its rate limits are switched off."""
    upstreams = {"auth_url": closed_port(), "content_url": closed_port(), "routes": ROUTES}
    given = {**upstreams, "rate_limit_enabled": False, **settings}
    known = GatewaySettings(**given)
    async with serving(create_app(known), **known.server_options) as address:
        yield address


def table_of(prefixes: dict[str, str]) -> RouteTable:
    """A route table of prefixes and the names of their upstreams."""
    routes = [{"prefix": prefix, "upstream": upstream} for prefix, upstream in prefixes.items()]
    upstreams = {name: f"http://{name}" for name in prefixes.values()}
    return RouteTable.of(GatewaySettings.model_validate({"routes": routes, "upstreams": upstreams}))


class Echo:
    """An upstream that responds with the request that reached it, and records it in ``seen``."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        received = {
            "method": scope["method"],
            "path": scope["raw_path"].decode("latin-1"),
            "query": scope["query_string"].decode("latin-1"),
            "headers": [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]],
            "body": (await request.body()).decode("latin-1"),
        }
        self.seen.append(received)
        await Response(json.dumps(received), media_type="application/json")(scope, receive, send)


def responding(respond: Responder) -> ASGIApp:
    """An upstream made from one function."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await (await respond(Request(scope, receive)))(scope, receive, send)

    return app


@asynccontextmanager
async def raw_upstream(handler: RawHandler) -> AsyncIterator[str]:
    """An upstream that only accepts connections; the handler decides what it sends."""
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    async with server:
        yield address_of(server.sockets[0])  # type: ignore[arg-type] it behaves like a socket
        server.close()


async def head_of(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


def headers_of(received: dict[str, Any]) -> dict[str, str]:
    return dict(received["headers"])


class Wire:
    """A client that sends exactly the given bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def to(cls, address: str) -> Self:
        parts = urlsplit(address)
        return cls(*await asyncio.open_connection(parts.hostname, parts.port))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        self.writer.close()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> bytes:
        return await head_of(self.reader)

    async def rest(self) -> bytes:
        """Everything that arrives until the other side closes the connection."""
        return await self.reader.read()


async def send_raw(address: str, data: bytes) -> bytes:
    """Send the bytes and read until the server closes the connection."""
    async with await Wire.to(address) as wire:
        await wire.send(data)
        async with asyncio.timeout(10):
            return await wire.rest()
