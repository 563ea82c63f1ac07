"""The server around an application: heads, bodies, ids and uncaught exceptions, over real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import structlog
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from kpi_shared.errors import ForbiddenError, install_error_handlers
from kpi_shared.http import middleware
from kpi_shared.http.middleware import BodyLimit, RequestContext
from kpi_shared.parts import Part
from kpi_shared.server.connections import ConnectionLimits
from kpi_shared.server.options import MAX_HEAD_BYTES, uvicorn_options
from kpi_shared.settings import PartSettings
from kpi_shared.telemetry.observation import Observation
from kpi_shared.testing.process import free_port
from pydantic import BaseModel
from structlog.testing import capture_logs

LIMIT = 100_000


class Some(PartSettings):
    part = Part(name="some", package="some", port=1)


class Body(BaseModel):
    text: str


def _app() -> FastAPI:
    app = FastAPI()

    @app.get("/fail")
    async def fail() -> None:
        raise RuntimeError("the internals of the server")

    @app.get("/forbidden")
    async def forbidden() -> None:
        raise ForbiddenError("Not for you")

    @app.get("/slow")
    async def slow() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            yield b"first"
            await asyncio.sleep(1)
            yield b"last"

        return StreamingResponse(parts())

    @app.get("/never")
    async def never() -> None:
        await asyncio.Event().wait()

    @app.post("/text")
    async def text(body: Body) -> int:
        return len(body.text)

    @app.post("/raw")
    async def raw(request: Request) -> int:
        return len(await request.body())

    install_error_handlers(app)
    app.add_middleware(BodyLimit, limit=LIMIT)
    observation = Observation(Some(), version="0")
    app.state.metrics = observation.metrics
    app.add_middleware(RequestContext, access_log=False, observation=observation)
    return app


@asynccontextmanager
async def serve_application(app: FastAPI | None = None, **options: object) -> AsyncIterator[int]:
    port = free_port()
    # It runs in the loop of the test, so that errors of the server fail the test.
    server = uvicorn.Server(uvicorn.Config(app or _app(), **uvicorn_options(port=port, loop="none", **options)))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 uvicorn sets a flag and has no event
        await asyncio.sleep(0.01)
    try:
        yield port
    finally:
        server.should_exit = True
        await serving


@pytest.fixture(scope="module")
async def port() -> AsyncIterator[int]:
    async with serve_application() as port:
        yield port


async def exchange(port: int, *parts: bytes) -> bytes:
    """Send the parts on one connection and read until the server closes it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        return await asyncio.wait_for(reader.read(), 20)
    finally:
        writer.close()


def problem(response: bytes) -> dict[str, object]:
    head, _, body = response.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head, response
    found: dict[str, object] = json.loads(body)
    assert f"x-request-id: {found['instance']}".encode() in head.lower()
    return found


def request(method: str, path: str, *headers: str, body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: test", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize("size", [MAX_HEAD_BYTES + 1, 1_000_000, 10_000_000])
async def test_an_oversized_head_is_a_problem_document(port: int, size: int) -> None:
    response = await exchange(port, request("GET", "/forbidden", f"Authorization: Bearer {'a' * size}"))
    assert response.startswith(b"HTTP/1.1 431 ")
    assert problem(response)["type"] == "head-too-large"


async def test_a_head_in_many_small_parts_is_limited(port: int) -> None:
    parts = [f"X-{n}: {'v' * 1000}\r\n".encode() for n in range(80)]
    response = await exchange(port, b"GET / HTTP/1.1\r\nHost: test\r\n", *parts)
    assert response.startswith(b"HTTP/1.1 431 ")


async def test_a_large_head_within_the_limit_is_accepted(port: int) -> None:
    response = await exchange(port, request("GET", "/forbidden", f"X-Large: {'a' * 60_000}"))
    assert response.startswith(b"HTTP/1.1 403 ")


async def test_a_target_outside_ascii_is_told_to_be_percent_encoded(port: int) -> None:
    response = await exchange(port, request("GET", "/posts?search=caf\u00e9"))
    assert response.startswith(b"HTTP/1.1 400 ")
    assert "percent-encoded" in problem(response)["detail"]


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03", b"GET\r\n\r\n", b"\0\0\0\0\r\n\r\n"]
)
async def test_bytes_that_are_not_http_are_a_problem_document(port: int, garbage: bytes) -> None:
    response = await exchange(port, garbage)
    assert response.startswith(b"HTTP/1.1 400 ")
    assert problem(response)["type"] == "bad-request"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /" + b"a" * 9000, 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x: y\r\n" * 100 + b"\r\n", 431),
    ],
)
async def test_each_limit_has_its_status(port: int, head: bytes, status: int) -> None:
    assert problem(await exchange(port, head))["status"] == status


async def test_a_hundred_headers_are_accepted(port: int) -> None:
    head = request("GET", "/forbidden", *["x: y"] * 98)
    assert (await exchange(port, head)).startswith(b"HTTP/1.1 403 ")


async def test_a_trailer_is_not_a_header(port: int) -> None:
    body = b"5\r\nhello\r\n0\r\nX-Request-ID: trailed\r\n\r\n"
    response = await exchange(port, request("POST", "/raw", "Transfer-Encoding: chunked", body=body))
    assert response.startswith(b"HTTP/1.1 200 ")
    assert b"trailed" not in response


@pytest.mark.parametrize(("part", "status"), [(b"a:b\r\n" * 101, 431), (b"a" * 5000, 400)], ids=["many", "endless"])
async def test_endless_trailers_are_refused(port: int, part: bytes, status: int) -> None:
    begun = request("POST", "/raw", "Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\nx:")
    assert problem(await exchange(port, begun, part))["status"] == status


async def test_a_body_of_tiny_chunks_is_accepted(port: int) -> None:
    body = b"1\r\na\r\n" * 20_000 + b"0\r\n\r\n"
    response = await exchange(port, request("POST", "/raw", "Transfer-Encoding: chunked", body=body))
    assert response.endswith(b"20000")


async def test_an_uncaught_exception_reveals_no_internals(port: int) -> None:
    response = await exchange(port, request("GET", "/fail"))
    assert response.startswith(b"HTTP/1.1 500 ")
    assert problem(response)["type"] == "internal-error"
    assert b"internals" not in response
    assert b"RuntimeError" not in response


async def test_the_log_contains_the_request_id_of_an_error(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # A logger keeps the configuration of its first use.
    monkeypatch.setattr(middleware, "log", structlog.get_logger())
    with capture_logs() as logged:
        response = await exchange(port, request("GET", "/nothing%1b%5b2J", "X-Request-ID: known-1"))
    assert problem(response)["instance"] == "known-1"
    # The path is logged still encoded, so that it contains no terminal control characters.
    assert {"event": "request", "path": "/nothing%1b%5b2J", "status": 404}.items() <= logged[-1].items()


async def test_a_request_that_takes_too_long_is_logged_and_counted_as_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "log", structlog.get_logger())
    app = _app()
    requests = app.state.metrics.requests
    with capture_logs() as logged:
        async with serve_application(app, request_timeout=0.1) as port:
            response = await exchange(port, request("GET", "/never", "X-Request-ID: known-2"))
            async with asyncio.timeout(20):
                while requests.in_flight:  # noqa: ASYNC110 it is a number and has no event
                    await asyncio.sleep(0.01)
    assert response.startswith(b"HTTP/1.1 503 ")
    assert problem(response)["instance"] == "known-2"
    assert {"event": "request", "path": "/never", "status": 503}.items() <= logged[-1].items()
    statuses = {(route, method): series.statuses for (route, method), series in requests._series.items()}
    assert statuses == {("/never", "GET"): {503: 1}}


async def test_a_safe_request_id_is_kept_and_an_unsafe_one_replaced(port: int) -> None:
    kept = await exchange(port, request("GET", "/forbidden", "X-Request-ID: abc-1.2_3"))
    assert problem(kept)["instance"] == "abc-1.2_3"
    for unsafe in ("two words", 'quote"', "a" * 65, "line%0a", "<b>"):
        replaced = await exchange(port, request("GET", "/forbidden", f"X-Request-ID: {unsafe}"))
        assert len(str(problem(replaced)["instance"])) == 32


async def test_a_body_over_the_limit_is_refused_with_and_without_a_length(port: int) -> None:
    text = json.dumps({"text": "a" * LIMIT}).encode()
    json_type = "Content-Type: application/json"
    stated = await exchange(port, request("POST", "/text", json_type, f"Content-Length: {len(text)}", body=text))
    chunk = f"{len(text):x}\r\n".encode() + text + b"\r\n0\r\n\r\n"
    chunked = await exchange(port, request("POST", "/text", json_type, "Transfer-Encoding: chunked", body=chunk))
    raw = await exchange(port, request("POST", "/raw", "Transfer-Encoding: chunked", body=chunk))
    for response in (stated, chunked, raw):
        assert response.startswith(b"HTTP/1.1 413 ")
        assert problem(response)["type"] == "body-too-large"


async def test_a_body_within_the_limit_is_accepted(port: int) -> None:
    text = json.dumps({"text": "a" * 1000}).encode()
    response = await exchange(
        port, request("POST", "/text", "Content-Type: application/json", f"Content-Length: {len(text)}", body=text)
    )
    assert response.endswith(b"1000")


async def test_a_rejected_value_is_not_in_the_response(port: int) -> None:
    text = b'{"text": ["swordfish-77"]}'
    response = await exchange(
        port, request("POST", "/text", "Content-Type: application/json", f"Content-Length: {len(text)}", body=text)
    )
    assert problem(response)["errors"] == [
        {"pointer": "#/body/text", "detail": "Input should be a valid string", "type": "string_type"}
    ]
    assert b"swordfish" not in response


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nothing", 404), ("DELETE", "/text", 405)])
async def test_errors_of_the_framework_are_problem_documents(port: int, method: str, path: str, status: int) -> None:
    response = await exchange(port, request(method, path))
    assert problem(response)["status"] == status


def _allow_one_origin(origin: bytes | None) -> list[tuple[bytes, bytes]]:
    allowed = [(b"access-control-allow-origin", origin)] if origin == b"https://a.example" else []
    return [*allowed, (b"vary", b"Origin")]


HEAD = b"POST /raw HTTP/1.1\r\nHost: a\r\nORIGIN: \t https://a.example\t\r\n"


@pytest.mark.parametrize(
    ("status", "parts"),
    [
        (400, [HEAD + b"a\0b\r\n\r\n"]),
        (400, [HEAD + b"Host: b\r\n\r\n"]),
        (400, [HEAD + b"Content-Length: 1, 1\r\n\r\n"]),
        (400, [HEAD, b"x: \n"]),
        (400, [HEAD + b"Transfer-Encoding: chunked\r\n\r\nno size\r\n"]),
        (414, [b"GET /" + b"a" * 8192 + HEAD[9:] + b"\r\n"]),
        (431, [HEAD + b"x: y\r\n" * 100 + b"\r\n"]),
        (431, [HEAD + b"x: " + b"y" * 70_000]),
        (505, [HEAD.replace(b"1.1", b"9.9") + b"\r\n"]),
    ],
)
async def test_a_refusal_has_headers_by_the_origin_of_the_request(status: int, parts: list[bytes]) -> None:
    async with serve_application(refusal_headers=_allow_one_origin) as port:
        # In one piece, and in pieces that cut the head and the line of the Origin.
        for pieces in (parts, [parts[0][:50], parts[0][50:], *parts[1:]]):
            response = await exchange(port, *pieces)
            assert response.startswith(b"HTTP/1.1 %d " % status)
            assert b"access-control-allow-origin: https://a.example\r\nvary: Origin\r\n" in response
        other = await exchange(port, *[piece.replace(b"a.example", b"b.example") for piece in parts])
        assert b"access-control" not in other
        assert b"vary: Origin\r\n" in other


async def test_a_refused_connection_has_headers_by_the_origin_of_its_first_bytes() -> None:
    limits = ConnectionLimits(1)
    async with serve_application(refusal_headers=_allow_one_origin, limits=limits) as port:
        _, first = await asyncio.open_connection("127.0.0.1", port)
        response = await exchange(port, HEAD + b"\r\n")
        assert response.startswith(b"HTTP/1.1 503 ")
        assert b"access-control-allow-origin: https://a.example\r\n" in response
        # One that sends nothing is refused by the clock.
        assert (await exchange(port)).startswith(b"HTTP/1.1 503 ")
        first.close()


async def test_few_connections_over_the_limit_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kpi_shared.server.connections.MAX_KEPT_FOR_REFUSAL", 0)
    monkeypatch.setattr("kpi_shared.server.connections.SECONDS_PER_TICK", 1000)
    async with serve_application(refusal_headers=_allow_one_origin, limits=ConnectionLimits(1)) as port:
        _, first = await asyncio.open_connection("127.0.0.1", port)
        assert (await exchange(port)).startswith(b"HTTP/1.1 503 ")
        first.close()
