"""Requests that last: the server notices when their clients leave, and their bodies may be slow, over real sockets."""

import asyncio
from contextlib import suppress

import pytest
from kpi_shared.deadlines import LASTS, OWN_PACE
from server_support import serve
from starlette.types import Receive, Scope, Send

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n"


class Lasting:
    """A GET lasts until the client leaves; a POST responds with its body."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST":
            scope[OWN_PACE] = True
            body = b""
            while len(body) < 6:
                body += (await receive())["body"]
            await self._respond(send, body, more=False)
            return
        scope[LASTS] = True
        await self._respond(send, b"first", more=True)
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left.set()

    async def _respond(self, send: Send, body: bytes, *, more: bool) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body, "more_body": more})


async def test_a_client_that_leaves_a_lasting_response_is_noticed_without_another_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Otherwise it is noticed some ticks later.
    monkeypatch.setattr("kpi_shared.server.connections.SECONDS_PER_TICK", 1000)
    app = Lasting()
    async with serve(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(10):
            writer.write(GET)
            await reader.readuntil(b"first\r\n")
            writer.close()
            await app.left.wait()


async def test_a_body_that_may_be_slow_has_no_minimum_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kpi_shared.server.connections.SECONDS_PER_TICK", 0.01)
    async with serve(Lasting()) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(POST + b"he")
        # Several times as long as other bodies may take for as few bytes.
        for piece in (b"ll", b"o!"):
            await asyncio.sleep(0.2)
            writer.write(piece)
        async with asyncio.timeout(10):
            assert await reader.readuntil(b"0\r\n\r\n")
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
