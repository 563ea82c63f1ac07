"""What the client gets when an upstream, or the client itself, fails."""

import asyncio
import contextlib
import json
import logging

import httpx
import pytest
from gateway_support import Wire, closed_port, gateway, head_of, raw_upstream, responding, serving
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

GET = b"GET /posts HTTP/1.1\r\nHost: a\r\n\r\n"
ORIGIN = "https://app.example.com"
# A larger body than the gateway receives before it involves the upstream.
MUCH = 200_000


def is_problem(response: httpx.Response, status: int, slug: str) -> bool:
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["instance"] == response.headers["x-request-id"]
    return (response.status_code, problem["status"], problem["type"]) == (status, status, slug)


async def test_a_refused_connection_is_502_with_headers_for_browsers() -> None:
    async with (
        gateway(content_url=closed_port(), cors_origins=(ORIGIN,)) as address,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        response = await client.get(f"{address}/posts", headers={"Origin": ORIGIN})
    assert is_problem(response, 502, "upstream-unreachable")
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert response.headers["access-control-allow-credentials"] == "true"


async def test_an_unknown_host_name_is_502() -> None:
    async with (
        gateway(content_url="http://no-such-service.invalid") as address,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        assert is_problem(await client.get(f"{address}/posts"), 502, "upstream-unreachable")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"this is not HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nBroken",
        b"HTTP/1.1 200 OK\r\nX-A: a\x00b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: a\x01b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: a\x7fb\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: a\rb\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX A: b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ],
)
async def test_an_upstream_that_does_not_speak_http_is_502(data: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(data)
        writer.close()

    async with (
        raw_upstream(handler) as upstream,
        gateway(content_url=upstream) as address,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        assert is_problem(await client.post(f"{address}/posts", content=b"x"), 502, "bad-gateway")


async def test_a_reset_connection_is_502() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.transport.abort()

    async with (
        raw_upstream(handler) as upstream,
        gateway(content_url=upstream) as address,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        assert is_problem(await client.post(f"{address}/posts", content=b"x"), 502, "bad-gateway")


async def test_a_silent_upstream_is_504_and_frees_its_place() -> None:
    async def respond(request: Request) -> Response:
        if "hang" in request.query_params:
            await asyncio.Event().wait()
        return Response("ok")

    async with (
        serving(responding(respond)) as upstream,
        gateway(content_url=upstream, upstream_read_timeout=0.2, upstream_connections=1) as address,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        assert is_problem(await client.get(f"{address}/posts?hang"), 504, "upstream-timeout")
        assert (await client.get(f"{address}/posts")).text == "ok"


async def test_the_total_timeout_ends_a_request() -> None:
    async def respond(_request: Request) -> Response:
        await asyncio.Event().wait()
        return Response()

    async with (
        serving(responding(respond)) as upstream,
        gateway(content_url=upstream, upstream_total_timeout=0.2) as address,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        assert is_problem(await client.get(f"{address}/posts"), 504, "upstream-timeout")


@pytest.mark.parametrize("sent", [b"", b"half"])
async def test_a_client_that_does_not_finish_its_upload_gets_408(sent: bytes) -> None:
    async def respond(request: Request) -> Response:
        await request.body()
        return Response()

    async with (
        serving(responding(respond)) as upstream,
        gateway(content_url=upstream, upstream_total_timeout=0.3) as address,
        await Wire.to(address) as wire,
    ):
        await wire.send(b"POST /posts HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n" + sent)
        async with asyncio.timeout(10):
            assert (await wire.head()).startswith(b"HTTP/1.1 408 ")


async def test_a_full_upstream_is_503_with_retry_after() -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def respond(_request: Request) -> Response:
        entered.set()
        await release.wait()
        return Response("first")

    async with (
        serving(responding(respond)) as upstream,
        gateway(content_url=upstream, upstream_connections=1, upstream_queue_timeout=0.05) as address,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        first = asyncio.create_task(client.get(f"{address}/posts"))
        await entered.wait()
        refused = await client.get(f"{address}/posts")
        release.set()
        assert is_problem(refused, 503, "upstream-busy")
        assert refused.json()["error"] == "temporarily_unavailable"
        assert refused.headers["retry-after"] == "1"
        assert (await first).text == "first"


async def test_a_request_that_would_wait_too_long_is_refused_at_once() -> None:
    async def respond(_request: Request) -> Response:
        await asyncio.Event().wait()
        return Response()

    async with (
        serving(responding(respond)) as upstream,
        # The line is long after a tenth of the patience, and nothing in it is refused before the end of that.
        gateway(
            content_url=upstream, upstream_connections=1, cors_origins=(ORIGIN,), upstream_queue_timeout=5
        ) as address,
        httpx.AsyncClient(trust_env=False, timeout=30) as client,
    ):
        headers = {"Origin": ORIGIN, "X-Request-ID": "mine"}
        waiting: set[asyncio.Task[httpx.Response]] = set()
        ended: set[asyncio.Task[httpx.Response]] = set()
        # One has the place and the next ones wait, until the line does not accept more.
        while not ended:
            waiting.add(asyncio.create_task(client.get(f"{address}/posts", headers=headers)))
            ended, waiting = await asyncio.wait(waiting, timeout=0.05)
        refused = ended.pop().result()
        # Those that were accepted before still wait.
        assert len(waiting) > 1
        for each in waiting:
            each.cancel()
    assert is_problem(refused, 503, "upstream-busy")
    assert refused.json()["instance"] == "mine"
    assert refused.json()["error"] == "temporarily_unavailable"
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["access-control-allow-origin"] == ORIGIN


async def test_a_refusal_at_once_is_a_response_like_any_other() -> None:
    async def respond(_request: Request) -> Response:
        await asyncio.Event().wait()
        return Response()

    async with (
        serving(responding(respond)) as upstream,
        gateway(
            content_url=upstream, upstream_connections=1, cors_origins=(ORIGIN,), upstream_queue_timeout=5
        ) as address,
        contextlib.AsyncExitStack() as stack,
    ):
        waiting = [await stack.enter_async_context(await Wire.to(address)) for _ in range(2)]
        for wire in waiting:
            await wire.send(GET)
        # The line is long after a tenth of the patience.
        await asyncio.sleep(0.7)
        wire = await stack.enter_async_context(await Wire.to(address))
        await wire.send(
            b"HEAD /posts HTTP/1.1\r\nHost: a\r\nX-Request-ID: first\r\n\r\n"
            b"GET /posts HTTP/1.1\r\nHost: a\r\nX-Request-ID: second\r\nConnection: close\r\n\r\n" + GET
        )
        async with asyncio.timeout(10):
            head, second, end = await wire.head(), await wire.head(), await wire.rest()
    assert head.startswith(b"HTTP/1.1 503 ")
    for expected in (b"x-request-id: first", b"x-response-time: ", b"retry-after: 1", b"vary: Origin", b"nosniff"):
        assert expected in head
    assert b"x-request-id: second" in second
    assert b"connection: close" in second
    # The third request came after the end.
    assert json.loads(end)["instance"] == "second"


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", b"content-length: 10"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", b"transfer-encoding: chunked"),
    ],
)
async def test_a_response_that_breaks_off_never_looks_complete(data: bytes, whole: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(data)
        await writer.drain()
        writer.close()

    async with (
        raw_upstream(handler) as upstream,
        gateway(content_url=upstream) as address,
        await Wire.to(address) as wire,
    ):
        await wire.send(GET)
        assert whole in await wire.head()
        body = await wire.rest()
    # The connection was closed before the length was reached, or without the chunk that ends a body.
    assert b"half" in body
    assert not body.endswith(b"0\r\n\r\n")
    assert len(body) < 10 or b"chunked" in whole


async def test_a_disconnect_ends_the_upstream_request() -> None:
    entered, left = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["query_string"] == b"hang":
            entered.set()
            while (await receive())["type"] != "http.disconnect":
                pass
            left.set()
            return
        await Response("ok")(scope, receive, send)

    async with (
        serving(app) as upstream,
        gateway(content_url=upstream, upstream_connections=1, upstream_queue_timeout=10) as address,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        async with await Wire.to(address) as wire:
            await wire.send(GET.replace(b"/posts", b"/posts?hang"))
            await entered.wait()
        async with asyncio.timeout(5):
            await left.wait()
        # The only place of this upstream is free again.
        assert (await client.get(f"{address}/posts")).text == "ok"


async def test_a_disconnect_during_a_response_ends_the_upstream_request() -> None:
    left = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        left.set()

    async with serving(app) as upstream, gateway(content_url=upstream) as address:
        async with await Wire.to(address) as wire:
            await wire.send(GET)
            await wire.reader.readuntil(b"begun")
        async with asyncio.timeout(5):
            await left.wait()


async def test_a_disconnect_during_an_upload_ends_the_upstream_request() -> None:
    entered, left = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, _send: Send) -> None:
        if scope["type"] != "http":
            return
        message = await receive()
        entered.set()
        while message["type"] != "http.disconnect":
            message = await receive()
        left.set()

    async with serving(app) as upstream, gateway(content_url=upstream) as address:
        async with await Wire.to(address) as wire:
            head = b"POST /posts HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            await wire.send(head + b"%x\r\n%b\r\n" % (MUCH, b"x" * MUCH))
            await entered.wait()
        async with asyncio.timeout(5):
            await left.wait()


async def test_a_response_before_the_end_of_the_upload_reaches_the_client() -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 8\r\nConnection: close\r\n\r\ntoo much")
        await writer.drain()
        writer.close()

    async with (
        raw_upstream(handler) as upstream,
        gateway(content_url=upstream) as address,
        await Wire.to(address) as wire,
    ):
        await wire.send(b"POST /posts HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * MUCH)
        assert (await wire.head()).startswith(b"HTTP/1.1 413 ")
        assert await wire.reader.readexactly(8) == b"too much"


async def _send_to_dropping_upstream(method: bytes, body: bytes) -> tuple[int, bytes]:
    """Send a request that is dropped on a reused connection: how often the upstream got it, and the response."""
    seen = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        try:
            await head_of(reader)
            seen += 1
        except asyncio.IncompleteReadError:
            pass
        writer.close()

    async with (
        raw_upstream(handler) as upstream,
        gateway(content_url=upstream) as address,
        await Wire.to(address) as wire,
    ):
        await wire.send(GET)
        await wire.reader.readuntil(b"ok")
        length = b"Content-Length: %d\r\n" % len(body) if body else b""
        await wire.send(method + b" /posts HTTP/1.1\r\nHost: a\r\n" + length + b"Connection: close\r\n\r\n" + body)
        response = await wire.rest()
    return seen, response


async def test_a_get_on_a_connection_that_was_being_closed_is_sent_again() -> None:
    seen, response = await _send_to_dropping_upstream(b"GET", b"")
    assert seen == 1
    assert response.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(("method", "body"), [(b"POST", b""), (b"POST", b"x"), (b"PUT", b"x"), (b"PATCH", b"x")])
async def test_a_request_that_may_have_been_processed_is_not_sent_again(method: bytes, body: bytes) -> None:
    seen, response = await _send_to_dropping_upstream(method, body)
    assert seen == 1
    assert response.startswith(b"HTTP/1.1 502 ")


async def test_the_cause_of_a_failure_is_logged_and_not_disclosed(caplog: pytest.LogCaptureFixture) -> None:
    port = closed_port()
    async with gateway(content_url=port) as address, httpx.AsyncClient(trust_env=False) as client:
        # The gateway configures logging when it is created.
        logging.getLogger().addHandler(caplog.handler)
        response = await client.get(f"{address}/posts")
    assert port.removeprefix("http://") not in response.text
    assert any(response.headers["x-request-id"] in record.getMessage() for record in caplog.records)
