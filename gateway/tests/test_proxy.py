"""Requests and responses are forwarded completely, streamed, and never mixed up."""

import asyncio
import gzip
import hashlib
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from gateway_support import Echo, Wire, gateway, headers_of, responding, serving
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

MEGABYTE = 1024 * 1024


@pytest.mark.parametrize("form", ["/api/v1", "/api", ""])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_each_method_and_address_form_reaches_the_service(
    client: httpx.AsyncClient, form: str, method: str
) -> None:
    received = (await client.request(method, f"{form}/posts/7?limit=1")).json()
    assert (received["method"], received["path"], received["query"]) == (method, "/posts/7", "limit=1")


@pytest.mark.parametrize(
    "target",
    [
        "/posts/a%2Fb%2Fc",
        "/posts/%25%2500",
        "/posts/A~",
        "/posts/a+b%20c",
        "/posts/%E2%98%83/%C3%A9",
        "/posts/a;b=c,d:e@f!$&'()*",
        "/posts/[x]|{y}^`",
        "/posts//x///",
        "/posts?q=a+b%20c%2B%27%22&r=/../%2e%2e/&s=%&t=%zz&=&&",
        "/posts?x={a}|^`[b]\\<>",
    ],
)
async def test_path_and_query_arrive_byte_for_byte(address: str, echo: Echo, target: str) -> None:
    async with await Wire.to(address) as wire:
        await wire.send(f"GET /api/v1{target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        assert b" 200 " in await wire.head()
    path, _, query = target.partition("?")
    assert (echo.seen[0]["path"], echo.seen[0]["query"]) == (path, query)


@pytest.mark.parametrize(
    ("target", "forwarded"),
    [
        ("/api/v1/%70osts/2", "/posts/2"),
        ("/api/v1/posts/%32", "/posts/2"),
        ("/%61pi/v1/posts/2", "/posts/2"),
        ("/api/%76%31/%70%6F%73%74%73", "/posts"),
        ("/posts/%41%7e%2D%2e%5F", "/posts/A~-._"),
        ("/posts/%e2%98%83", "/posts/%E2%98%83"),
        ("/posts/a%2fb", "/posts/a%2Fb"),
        # Decoded once, not twice.
        ("/posts/%2541", "/posts/%2541"),
    ],
)
async def test_equal_spellings_of_a_path_arrive_in_one_form(
    address: str, echo: Echo, target: str, forwarded: str
) -> None:
    async with await Wire.to(address) as wire:
        await wire.send(f"GET {target}?q=%61%2f HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        assert b" 200 " in await wire.head()
    assert (echo.seen[0]["path"], echo.seen[0]["query"]) == (forwarded, "q=%61%2f")


@pytest.mark.parametrize(
    "path", ["/posts/../users", "/posts/%2e%2e/users", "/posts/..%2fusers", "/posts/%5c", "/posts/%0"]
)
async def test_an_ambiguous_path_is_a_problem_and_reaches_no_upstream(address: str, echo: Echo, path: str) -> None:
    async with await Wire.to(address) as wire:
        await wire.send(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        response = await wire.rest()
    head, _, body = response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body)["type"] == "invalid-path"
    assert echo.seen == []


async def test_an_unknown_path_is_a_404_problem(client: httpx.AsyncClient, echo: Echo) -> None:
    response = await client.get("/api/v1/nothing-here")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["instance"] == response.headers["x-request-id"]
    assert echo.seen == []


async def test_a_small_body_arrives_with_its_length(client: httpx.AsyncClient) -> None:
    received = (await client.post("/posts", content=b"hello")).json()
    assert received["body"] == "hello"
    assert headers_of(received)["content-length"] == "5"
    assert "transfer-encoding" not in headers_of(received)


async def test_an_empty_post_stays_empty(client: httpx.AsyncClient) -> None:
    received = (await client.post("/posts")).json()
    assert received["body"] == ""
    assert headers_of(received)["content-length"] == "0"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("chunked", [True, False])
async def test_a_large_body_arrives_complete(method: str, chunked: bool) -> None:
    body = bytes(range(256)) * (4 * MEGABYTE // 256)

    async def respond(request: Request) -> Response:
        digest = hashlib.sha256()
        async for chunk in request.stream():
            digest.update(chunk)
        return Response(digest.hexdigest(), headers={"X-Framing": str(request.headers.get("content-length"))})

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 100_000):
            yield body[start : start + 100_000]

    async with (
        serving(responding(respond)) as upstream,
        gateway(content_url=upstream, body_limit=5 * MEGABYTE) as address,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        response = await client.request(method, f"{address}/posts", content=pieces() if chunked else body)
    assert response.text == hashlib.sha256(body).hexdigest()
    assert response.headers["x-framing"] == ("None" if chunked else str(len(body)))


@pytest.mark.parametrize("with_length", [True, False])
async def test_a_large_response_arrives_complete(with_length: bool) -> None:
    body = bytes(range(256)) * (4 * MEGABYTE // 256)

    async def respond(_request: Request) -> Response:
        if with_length:
            return Response(body)
        return StreamingResponse(iter([body[:1000], body[1000:]]))

    async with (
        serving(responding(respond)) as upstream,
        gateway(content_url=upstream) as address,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        response = await client.get(f"{address}/posts")
    assert response.content == body
    assert response.headers.get("content-length") == (str(len(body)) if with_length else None)


async def test_an_encoded_response_is_relayed_unchanged() -> None:
    packed = gzip.compress(b"hello" * 100)

    async def respond(request: Request) -> Response:
        assert request.headers["accept-encoding"] == "gzip"
        return Response(packed, headers={"Content-Encoding": "gzip"})

    async with (
        serving(responding(respond)) as upstream,
        gateway(content_url=upstream) as address,
        await Wire.to(address) as wire,
    ):
        await wire.send(
            b"GET /posts HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n",
        )
        head, _, body = (await wire.rest()).partition(b"\r\n\r\n")
    assert b"content-encoding: gzip" in head
    assert body == packed


async def test_head_and_responses_without_content_keep_the_connection_usable() -> None:
    async def respond(request: Request) -> Response:
        status = int(request.query_params.get("status", "200"))
        if status in {204, 304}:
            return Response(status_code=status, headers={"ETag": '"1"', "X-Length": "none"})
        return Response("x" * 10)

    async with (
        serving(responding(respond)) as upstream,
        gateway(content_url=upstream) as address,
        await Wire.to(address) as wire,
    ):
        for request in (b"HEAD /posts", b"GET /posts?status=204", b"GET /posts?status=304"):
            await wire.send(request + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            head = await wire.head()
            assert b"transfer-encoding" not in head
            assert (b"content-length: 10" in head) == request.startswith(b"HEAD")
        # If any of the three had a body, it would precede this head.
        await wire.send(b"GET /posts HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert (await wire.head()).startswith(b"HTTP/1.1 200 OK")
        assert await wire.rest() == b"x" * 10


async def test_a_response_is_streamed_while_it_is_produced() -> None:
    first_was_read = asyncio.Event()

    async def parts() -> AsyncIterator[bytes]:
        yield b"first"
        await first_was_read.wait()
        yield b"second"

    async def respond(_request: Request) -> Response:
        return StreamingResponse(parts())

    async with (
        serving(responding(respond)) as upstream,
        gateway(content_url=upstream) as address,
        httpx.AsyncClient(trust_env=False) as client,
        client.stream("GET", f"{address}/posts") as response,
    ):
        arriving = response.aiter_raw()
        assert await anext(arriving) == b"first"
        first_was_read.set()
        assert await anext(arriving) == b"second"


async def test_an_upload_is_streamed_while_it_is_sent() -> None:
    first_has_arrived = asyncio.Event()

    async def respond(request: Request) -> Response:
        parts = []
        async for part in request.stream():
            parts.append(part)
            first_has_arrived.set()
        return Response(b"".join(parts))

    async def upload() -> AsyncIterator[bytes]:
        yield b"first" * 40_000
        await first_has_arrived.wait()
        yield b"second"

    async with (
        serving(responding(respond)) as upstream,
        gateway(content_url=upstream) as address,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        assert (await client.post(f"{address}/posts", content=upload())).text == "first" * 40_000 + "second"


async def test_expect_continue_is_handled_by_the_gateway(address: str, echo: Echo) -> None:
    async with await Wire.to(address) as wire:
        await wire.send(
            b"POST /posts HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
        )
        assert (await wire.head()).startswith(b"HTTP/1.1 100 ")
        await wire.send(b"ok")
        assert (await wire.head()).startswith(b"HTTP/1.1 200 ")
    assert echo.seen[0]["body"] == "ok"
    assert "expect" not in headers_of(echo.seen[0])


async def _wait_until_steady(count: list[int]) -> int:
    """The count once it is steady: both sides are on one machine, so a quarter of a second without change is enough."""
    before = -1
    while before != count[0]:
        before = count[0]
        await asyncio.sleep(0.25)
    return before


async def test_an_upload_waits_for_an_upstream_that_does_not_read() -> None:
    release = asyncio.Event()

    async def respond(request: Request) -> Response:
        await release.wait()
        return Response(str(len(await request.body())))

    sent = [0]

    async def upload() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield bytes(MEGABYTE)
            sent[0] += 1

    async with (
        serving(responding(respond)) as upstream,
        gateway(content_url=upstream, body_limit=64 * MEGABYTE) as address,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        uploading = asyncio.create_task(client.post(f"{address}/posts", content=upload()))
        # Socket buffers hold part of it; the gateway must not read all of it.
        assert await _wait_until_steady(sent) < 32
        release.set()
        assert (await uploading).text == str(64 * MEGABYTE)


async def test_a_response_waits_for_a_client_that_does_not_read() -> None:
    made = [0]

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(64):
                await send({"type": "http.response.body", "body": bytes(MEGABYTE), "more_body": True})
                made[0] += 1
            await send({"type": "http.response.body", "body": b""})

    async with serving(app) as upstream, gateway(content_url=upstream) as address, await Wire.to(address) as wire:
        await wire.send(b"GET /posts HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        await wire.head()
        assert await _wait_until_steady(made) < 32
        assert len(await wire.rest()) > 64 * MEGABYTE
    assert made[0] == 64


async def test_parallel_clients_get_their_own_responses() -> None:
    async def respond(request: Request) -> Response:
        number = int(request.query_params["n"])
        body = await request.body()
        # Responses overtake each other, and some are long enough to arrive in pieces.
        await asyncio.sleep((number * 7919 % 13) / 1000)
        return Response(body + b"|" + request.headers["x-client"].encode() * (1 + number % 3 * 4_000))

    async def ask(client: httpx.AsyncClient, address: str, number: int) -> None:
        mine = f"client-{number}."
        headers = {"X-Client": mine, "X-Request-ID": f"id-{number}"}
        response = await client.post(f"{address}/posts?n={number}", content=mine * 3, headers=headers)
        assert response.text == mine * 3 + "|" + mine * (1 + number % 3 * 4_000)
        assert response.headers["x-request-id"] == f"id-{number}"

    limits = httpx.Limits(max_connections=60)
    async with (
        serving(responding(respond)) as upstream,
        gateway(
            content_url=upstream, upstream_connections=20, upstream_queue_timeout=30, upstream_read_timeout=60
        ) as address,
        httpx.AsyncClient(trust_env=False, limits=limits, timeout=30) as client,
        asyncio.TaskGroup() as group,
    ):
        for number in range(300):
            group.create_task(ask(client, address, number))
