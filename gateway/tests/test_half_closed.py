"""Clients that close their sending side after the request, through the gateway as a program, in its own event loop."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from gateway_support import Wire, serving
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.types import Receive, Scope, Send
from test_process import program

GET = b"GET /posts/%b HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /posts HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
MUCH = 3_000_000


class Upstream:
    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.release = asyncio.Event()
        self.left = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = await Request(scope, receive).body()
        if scope["path"] == "/posts/wait":
            self.entered.set()
            await self.release.wait()
        if scope["path"] == "/posts/begun":
            await StreamingResponse(self._wait_for_disconnect(receive))(scope, receive, send)
            return
        if scope["path"] == "/posts/hang":
            async for _ in self._wait_for_disconnect(receive):
                pass
            return
        text = "x" * MUCH if scope["path"] == "/posts/large" else f"got {len(body)}"
        await PlainTextResponse(text)(scope, receive, send)

    async def _wait_for_disconnect(self, receive: Receive) -> AsyncIterator[bytes]:
        yield b"first"
        self.entered.set()
        try:
            while (await receive())["type"] != "http.disconnect":
                pass
        finally:
            self.left.set()


async def half_close(address: str, request: bytes) -> tuple[bytes, bytes]:
    async with await Wire.to(address) as wire:
        await wire.send(request)
        wire.writer.write_eof()
        async with asyncio.timeout(20):
            head, _, body = (await wire.reader.read()).partition(b"\r\n\r\n")
    return head, body


async def test_a_half_closed_client_gets_its_whole_response() -> None:
    upstream = Upstream()
    async with serving(upstream) as content, program(CONTENT_URL=content) as (_, gateway):
        # A service serves its own clients in the same way.
        for address in (content, gateway):
            upstream.entered.clear()
            upstream.release.clear()
            assert (await half_close(address, GET % b"short"))[1] == b"got 0"
            assert (await half_close(address, POST))[1] == b"got 5"
            assert len((await half_close(address, GET % b"large"))[1]) == MUCH
            late = asyncio.create_task(half_close(address, GET % b"wait"))
            await upstream.entered.wait()
            upstream.release.set()
            head, body = await late
            assert (head.partition(b"\r\n")[0], body) == (b"HTTP/1.1 200 OK", b"got 0")
            assert await half_close(address, POST[:-1]) == (b"", b"")


@pytest.mark.parametrize("path", [b"hang", b"begun"])
async def test_a_client_that_has_closed_its_connection_ends_the_upstream_request(path: bytes) -> None:
    upstream = Upstream()
    async with serving(upstream) as content, program(CONTENT_URL=content) as (_, gateway):
        async with await Wire.to(gateway) as wire:
            await wire.send(GET % path)
            async with asyncio.timeout(10):
                await upstream.entered.wait()
                if path == b"begun":
                    await wire.reader.readuntil(b"first")
        async with asyncio.timeout(20):
            await upstream.left.wait()
