"""The deadline of a request, and the end of work that no client waits for, over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from math import inf

import pytest
from kpi_shared.deadlines import ANSWERED_BY_SERVER, extend, remaining
from kpi_shared.server import connections
from kpi_shared.server.options import uvicorn_options
from server_support import App, serve
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

TIMEOUT = 0.3
LONG = b"X-Request-Timeout: 20000\r\n"
GET = b"GET /%b HTTP/1.1\r\nHost: a\r\n%b\r\n"
LAST = b"Connection: close\r\n"


class Waiting(App):
    """Waits in several ways, and notes what became of each request."""

    def __init__(self) -> None:
        super().__init__()
        self.cancelled = asyncio.Event()
        self.ended = asyncio.Event()
        self.remaining = inf
        self.begun: list[str] = []
        self.scope: Scope = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.begun.append(scope["path"])
        try:
            await super().__call__(scope, receive, send)
        except asyncio.CancelledError:
            self.cancelled.set()
            if scope["path"] != "/stubborn":
                raise
            await self.release.wait()
            await PlainTextResponse("too late")(scope, receive, send)
            self.ended.set()
            raise RuntimeError("a failure that must not close the connection") from None

    async def _respond(self, request: Request) -> Response:
        path = request.url.path
        if path in {"/forever", "/stubborn"}:
            self.remaining = remaining()
            self.entered.set()
            await asyncio.Event().wait()
        if path == "/longer":
            extend(TIMEOUT)
        if path in {"/post", "/longer"}:
            await request.body()
            self.remaining = remaining()
            await asyncio.Event().wait()
        if path == "/head-only":
            return StreamingResponse(self._stream_late())
        return await super()._respond(request)

    async def _stream_late(self) -> AsyncIterator[bytes]:
        await self.release.wait()
        yield b"late but whole"


@pytest.fixture
def app() -> Waiting:
    return Waiting()


@pytest.fixture
async def port(app: Waiting) -> AsyncIterator[int]:
    async with serve(app, request_timeout=TIMEOUT) as port:
        yield port


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    @asynccontextmanager
    async def to(cls, port: int) -> AsyncIterator["Client"]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.timeout(20):
                yield cls(reader, writer)
        finally:
            writer.close()

    async def ask(self, request: bytes) -> tuple[bytes, bytes]:
        self.writer.write(request)
        return await self.read()

    async def read(self) -> tuple[bytes, bytes]:
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next((line for line in head.split(b"\r\n") if line.startswith(b"content-length: ")), b"x: 0")
        return head, await self.reader.readexactly(int(length.split()[1]))


def assert_expired(head: bytes, body: bytes, *, request_id: bytes) -> None:
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 1\r\n" in head
    assert b"\r\ncontent-type: application/problem+json\r\n" in head
    assert b"\r\nx-request-id: " + request_id in head
    assert b"\r\nx-content-type-options: nosniff\r\n" in head.lower()
    problem = json.loads(body)
    assert (problem["type"], problem["status"]) == ("deadline-exceeded", 503)
    assert problem["instance"].encode().startswith(request_id)


async def test_a_late_response_is_503_and_the_connection_goes_on(port: int, app: Waiting) -> None:
    async with Client.to(port) as client:
        assert_expired(*await client.ask(GET % (b"forever", b"X-Request-ID: some-id\r\n")), request_id=b"some-id")
        await app.cancelled.wait()
        assert app.scope[ANSWERED_BY_SERVER] == 503
        assert 0 < app.remaining <= TIMEOUT
        head, body = await client.ask(GET % (b"next", b""))
    assert (head.partition(b"\r\n")[0], body) == (b"HTTP/1.1 200 OK", b"/next")


async def test_a_task_that_survives_its_cancellation_disturbs_nothing(port: int, app: Waiting) -> None:
    async with Client.to(port) as client:
        assert_expired(*await client.ask(GET % (b"stubborn", b"")), request_id=b"")
        assert (await client.ask(GET % (b"next", b"")))[1] == b"/next"
        app.entered.clear()
        app.release.set()
        await app.ended.wait()
        assert (await client.ask(GET % (b"last", b"")))[1] == b"/last"


async def test_a_pipelined_request_follows_the_503(port: int) -> None:
    async with Client.to(port) as client:
        client.writer.write(GET % (b"forever", b"") + GET % (b"second", LONG))
        assert_expired(*await client.read(), request_id=b"")
        assert (await client.read())[1] == b"/second"


async def test_the_header_of_the_gateway_replaces_the_setting(app: Waiting) -> None:
    async with serve(app, request_timeout=25) as port, Client.to(port) as client:
        # Also the first of two, and one that is not a number.
        for header in (b"X-Request-Timeout: 100\r\n", b"X-Request-Timeout: 9\r\nX-Request-Timeout: 100\r\n"):
            assert (await client.ask(GET % (b"forever", header)))[0].startswith(b"HTTP/1.1 503 ")
            assert app.remaining <= 0.1
        for header, most in ((b"X-Request-Timeout: 1e1\r\n", 25), (b"X-Request-Timeout: 999999\r\n", 30)):
            app.entered.clear()
            async with Client.to(port) as other:
                other.writer.write(GET % (b"forever", header))
                await app.entered.wait()
            assert most - 1 < app.remaining <= most


async def test_the_deadline_runs_from_the_end_of_the_body(port: int, app: Waiting) -> None:
    async with Client.to(port) as client:
        client.writer.write(b"POST /post HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await asyncio.sleep(2 * TIMEOUT)
        client.writer.write(b"h")
        await asyncio.sleep(2 * TIMEOUT)
        assert app.remaining == inf
        assert_expired(*await client.ask(b"i"), request_id=b"")
    assert 0 < app.remaining <= TIMEOUT


async def test_a_chunked_body_has_the_same_deadline(port: int) -> None:
    async with Client.to(port) as client:
        client.writer.write(b"POST /post HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
        await asyncio.sleep(2 * TIMEOUT)
        assert_expired(*await client.ask(b"0\r\n\r\n"), request_id=b"")


@pytest.mark.parametrize("comes", ["at once", "later"])
async def test_the_application_may_extend_the_deadline(app: Waiting, port: int, comes: str) -> None:
    """Before the body is complete, and after."""
    async with Client.to(port) as client:
        head = b"POST /longer HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"
        client.writer.write(head if comes == "later" else head + b"hi")
        await asyncio.sleep(TIMEOUT / 2)
        assert_expired(*await client.ask(b"hi" if comes == "later" else b""), request_id=b"")
    assert TIMEOUT < app.remaining <= 2 * TIMEOUT


@pytest.mark.parametrize("request_line", [b"HEAD /forever HTTP/1.1", b"GET /forever HTTP/1.0"])
async def test_other_kinds_of_requests_get_the_same_503(port: int, request_line: bytes) -> None:
    async with Client.to(port) as client:
        client.writer.write(request_line + b"\r\nHost: a\r\nConnection: close\r\n\r\n")
        response = await client.reader.read()
    head, _, body = response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"connection: close" in head
    assert bool(body) == request_line.startswith(b"GET")


@pytest.mark.parametrize("path", [b"begun", b"head-only"])
async def test_a_response_that_has_started_has_no_deadline(port: int, app: Waiting, path: bytes) -> None:
    async with Client.to(port) as client:
        client.writer.write(GET % (path, LAST))
        # At the deadline at the latest, also if the application has no part of the body yet.
        head = await client.reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(2 * TIMEOUT)
        app.release.set()
        assert head.startswith(b"HTTP/1.1 200 ")
        assert (await client.reader.read()).endswith(b"0\r\n\r\n")
    assert not app.cancelled.is_set()


def reset(client: Client) -> None:
    connections.reset(client.writer.transport)


def close(client: Client) -> None:
    client.writer.close()


@pytest.mark.parametrize("leave", [reset, close])
async def test_the_request_of_a_client_that_has_left_is_cancelled(
    port: int, app: Waiting, leave: Callable[[Client], None]
) -> None:
    async with Client.to(port) as client:
        client.writer.write(GET % (b"forever", LONG))
        await app.entered.wait()
        leave(client)
        await app.cancelled.wait()


async def test_a_half_closed_client_gets_its_response(port: int, app: Waiting) -> None:
    async with Client.to(port) as client:
        client.writer.write(GET % (b"wait", LONG))
        client.writer.write_eof()
        await app.entered.wait()
        app.release.set()
        assert (await client.read())[1] == b"/wait"


async def test_without_the_option_nothing_is_cancelled(app: Waiting) -> None:
    async with serve(app) as port, Client.to(port) as client:
        client.writer.write(GET % (b"hang", b"X-Request-Timeout: 1\r\n"))
        await app.entered.wait()
        await asyncio.sleep(TIMEOUT)
        reset(client)
        await app.left.wait()
    assert not app.cancelled.is_set()
    assert uvicorn_options()["http"].keywords["request_timeout"] is None
