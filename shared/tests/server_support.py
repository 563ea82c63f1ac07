"""A server in the loop of the test, and an application that responds as its paths say."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from kpi_shared.server.options import uvicorn_options
from kpi_shared.server.serving import Server
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

LARGE = 20_000_000


class App:
    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.release = asyncio.Event()
        self.left = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            response = await self._respond(request)
        except ClientDisconnect:
            self.left.set()
            return
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        path = request.url.path
        if path == "/length":
            return PlainTextResponse(str(len(await request.body())))
        if path == "/large":
            return StreamingResponse(self._stream_large())
        if path == "/wait":
            self.entered.set()
            await self.release.wait()
        if path == "/begun":
            return StreamingResponse(self._stream_when_released())
        if path == "/hang":
            self.entered.set()
            while (await request.receive())["type"] != "http.disconnect":
                pass
            raise ClientDisconnect
        if path == "/own":
            return PlainTextResponse("own", headers={"Referrer-Policy": "same-origin"})
        return PlainTextResponse(path)

    async def _stream_large(self) -> AsyncIterator[bytes]:
        for _ in range(LARGE // 20_000):
            yield b"x" * 20_000

    async def _stream_when_released(self) -> AsyncIterator[bytes]:
        yield b"first"
        self.entered.set()
        await self.release.wait()
        yield b"last"


class Running:
    """A server that accepts connections."""

    def __init__(self, server: Server, port: int) -> None:
        self._server = server
        self.port = port
        self.state = server.lifespan.state

    async def shut_down(self) -> None:
        """Stop, and wait for the end of all connections."""
        await self._server.shutdown()

    def stop(self) -> None:
        """Do what uvicorn does first when it is told to stop."""
        for listening in self._server.servers:
            listening.close()
        for connection in list(self._server.server_state.connections):
            connection.shutdown()


@asynccontextmanager
async def run_server(app: ASGIApp, **options: object) -> AsyncIterator[Running]:
    config = uvicorn.Config(app, **uvicorn_options(lifespan="off", loop="none", **options))
    config.load()
    server = Server(config)
    server.lifespan = config.lifespan_class(config)
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    await server.startup([bound])
    await server.on_tick(0)
    running = Running(server, bound.getsockname()[1])
    yield running
    running.stop()
    for connection in list(server.server_state.connections):
        if connection.cycle is None or connection.cycle.response_complete:
            # A server that stops keeps an idle one for a moment.
            connection.transport.close()


@asynccontextmanager
async def serve(app: ASGIApp, **options: object) -> AsyncIterator[int]:
    async with run_server(app, **options) as running:
        yield running.port
