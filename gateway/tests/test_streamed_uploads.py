"""Bodies that are read while they are written: passed on piece by piece, in a place of a stream, however slowly."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from gateway_support import Wire, closed_port, gateway, responding, serving
from kpi_shared.server import connections
from kpi_shared.testing.process import free_port
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from stream_support import PATIENCE, Stage, count, until

OPEN, CUT = "kpi_gateway_streams_open", "kpi_gateway_streams_cut_total"
TARGET = "/conversations/1/messages?stream=true"


def head_of(
    target: str = TARGET, *, kind: str = "text/event-stream", framing: str = "Transfer-Encoding: chunked"
) -> bytes:
    lines = (f"POST {target} HTTP/1.1", "Host: a", f"Content-Type: {kind}", framing, "", "")
    return "\r\n".join(lines).encode()


def chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.mark.parametrize("kind", ["text/event-stream", "application/x-ndjson; charset=utf-8"])
async def test_each_piece_reaches_the_service_before_the_next_is_written(stage: Stage, kind: str) -> None:
    port = free_port()
    async with (
        serving(stage) as upstream,
        gateway(content_url=upstream, metrics_port=port) as address,
        await Wire.to(address) as wire,
    ):
        await wire.send(head_of(kind=kind))
        for number in range(3):
            await wire.send(chunk(b"data: %d\n\n" % number))
            await until(lambda number=number: b"".join(stage.received).endswith(b"data: %d\n\n" % number))  # type: ignore[misc]
        await count(port, OPEN, 1)
        await count(port, "kpi_gateway_upstream_places_taken", 0, upstream="content")
        await wire.send(b"0\r\n\r\n")
        assert b" 201 " in await wire.head()
        await count(port, OPEN, 0)


async def test_a_slow_upload_lasts_longer_than_other_requests_may(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Other bodies must arrive at a minimum rate, here in each tenth of a second.
    monkeypatch.setattr(connections, "SECONDS_PER_TICK", 0.01)
    short = {"upstream_total_timeout": 0.3, "upstream_silence_timeout": 0.2, "upstream_read_timeout": 0.2}
    async with (
        serving(stage) as upstream,
        gateway(content_url=upstream, **short) as address,
        await Wire.to(address) as wire,
    ):
        await wire.send(head_of())
        for _ in range(4):
            await wire.send(chunk(b"data: x\n\n"))
            await asyncio.sleep(0.2)
        await wire.send(b"0\r\n\r\n")
        assert b" 201 " in await wire.head()


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("/conversations/1/messages", "text/event-stream"),
        ("/conversations/1/messages?stream=false", "text/event-stream"),
        (TARGET, "application/json"),
        ("/posts?stream=true", "text/event-stream"),
    ],
)
async def test_other_bodies_are_complete_before_they_reach_the_service(stage: Stage, target: str, kind: str) -> None:
    async with serving(stage) as upstream, gateway(content_url=upstream) as address, await Wire.to(address) as wire:
        await wire.send(head_of(target, kind=kind) + chunk(b"data: 1\n\n"))
        await asyncio.sleep(0.1)
        assert not stage.received
        await wire.send(b"0\r\n\r\n")
        assert b" 201 " in await wire.head()
        assert b"".join(stage.received) == b"data: 1\n\n"


@pytest.mark.parametrize("target", ["/posts?stream=true", "/conversations/1?stream=true"])
async def test_a_request_without_a_body_has_the_total_timeout(target: str) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.05)

    async def respond(_request: Request) -> Response:
        return StreamingResponse(trickle(), media_type="application/json")

    async with (
        serving(responding(respond)) as upstream,
        gateway(content_url=upstream, upstream_total_timeout=0.3) as address,
        await Wire.to(address) as wire,
        asyncio.timeout(PATIENCE),
    ):
        await wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\nContent-Type: text/event-stream\r\n\r\n".encode())
        assert b" 200 " in await wire.head()
        assert not (await wire.rest()).endswith(b"0\r\n\r\n")


async def test_the_body_limit_of_other_routes_applies_to_marked_bodies(stage: Stage) -> None:
    async with (
        serving(stage) as upstream,
        gateway(content_url=upstream, body_limit=10) as address,
        await Wire.to(address) as wire,
    ):
        await wire.send(head_of("/posts?stream=true") + chunk(b"x" * 50) + b"0\r\n\r\n")
        assert b" 413 " in await wire.head()


async def test_a_silent_upload_is_cut_on_both_sides(stage: Stage) -> None:
    port = free_port()
    async with (
        serving(stage) as upstream,
        gateway(content_url=upstream, metrics_port=port, stream_silence_timeout=0.3) as address,
        await Wire.to(address) as wire,
    ):
        await wire.send(head_of() + chunk(b"data: 1\n\n"))
        head = await wire.head()
        assert b" 408 " in head
        async with asyncio.timeout(PATIENCE):
            await stage.upload_left.wait()
        await count(port, CUT, 1, reason="silent-client")
        await count(port, OPEN, 0)


async def test_the_service_learns_that_a_client_left_during_its_upload(stage: Stage) -> None:
    async with serving(stage) as upstream, gateway(content_url=upstream) as address:
        async with await Wire.to(address) as wire:
            await wire.send(head_of() + chunk(b"data: 1\n\n"))
            await until(lambda: stage.received)
        async with asyncio.timeout(PATIENCE):
            await stage.upload_left.wait()


@pytest.mark.parametrize("framing", ["Content-Length: 200", "Transfer-Encoding: chunked"])
async def test_an_upload_that_is_too_large_is_refused(stage: Stage, framing: str) -> None:
    async with (
        serving(stage) as upstream,
        gateway(content_url=upstream, stream_body_limit=100, body_limit=10) as address,
        await Wire.to(address) as wire,
    ):
        await wire.send(head_of(framing=framing) + chunk(b"x" * 150))
        assert b" 413 " in await wire.head()


async def test_an_upload_that_reaches_no_service_gives_its_place_back() -> None:
    port = free_port()
    async with (
        gateway(content_url=closed_port(), metrics_port=port, stream_connections=1) as address,
        httpx.AsyncClient(base_url=address, trust_env=False) as client,
    ):
        for _ in range(2):
            refused = await client.post(TARGET, content=b"{}\n", headers={"Content-Type": "application/x-ndjson"})
            assert (refused.status_code, refused.json()["type"]) == (502, "upstream-unreachable")
        await count(port, OPEN, 0)
        await count(port, "kpi_gateway_upstream_places_taken", 0, upstream="content")


async def test_a_service_may_pause_in_its_reading_as_long_as_in_a_stream() -> None:
    async def read_late(request: Request) -> Response:
        await asyncio.sleep(1)
        return Response(str(len(await request.body())), status_code=201)

    body = b"x" * 15 * 1024 * 1024
    async with (
        serving(responding(read_late)) as upstream,
        gateway(content_url=upstream, upstream_silence_timeout=0.2, upstream_read_timeout=0.2) as address,
        httpx.AsyncClient(base_url=address, trust_env=False) as client,
    ):
        response = await client.post(TARGET, content=body, headers={"Content-Type": "text/event-stream"})
        assert (response.status_code, response.text) == (201, str(len(body)))


async def test_uploads_need_a_place_of_a_stream(stage: Stage) -> None:
    async with (
        serving(stage) as upstream,
        gateway(content_url=upstream, stream_connections=1) as address,
        httpx.AsyncClient(base_url=address, trust_env=False) as client,
        await Wire.to(address) as wire,
    ):
        await wire.send(head_of() + chunk(b"data: 1\n\n"))
        await until(lambda: stage.received)
        kind = {"Content-Type": "application/x-ndjson"}
        refused = await client.post(TARGET, content=b"{}\n", headers=kind)
        assert (refused.status_code, refused.json()["type"]) == (503, "streams-busy")
        assert (await client.post("/conversations/1/messages", json={})).status_code == 201
        await wire.send(b"0\r\n\r\n")
        assert b" 201 " in await wire.head()
        assert (await client.post(TARGET, content=b"{}\n", headers=kind)).status_code == 201
