"""Responses that are streams: passed on as they come, in places of their own, for as long as both sides take part."""

import asyncio
import socket
from contextlib import AsyncExitStack

import httpx
import pytest
from gateway_support import Wire, gateway, serving
from kpi_shared.server import connections
from kpi_shared.testing.process import free_port
from stream_support import Stage, chunk_of, count, following, until

OPEN, REFUSED, CUT = "kpi_gateway_streams_open", "kpi_gateway_streams_refused_total", "kpi_gateway_streams_cut_total"
EVENTS = b"GET /conversations/1/events HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_each_piece_reaches_the_client_by_itself_and_the_end_too(stage: Stage) -> None:
    async with serving(stage) as upstream, gateway(content_url=upstream) as address, following(address) as wire:
        for number in range(3):
            stage.pieces.put_nowait(b"id: %d\ndata: x\n\n" % number)
            assert await chunk_of(wire) == b"id: %d\ndata: x\n\n" % number
        stage.pieces.put_nowait(None)
        assert await chunk_of(wire) == b""
        # The connection of the client serves the next request.
        await wire.send(b"GET /conversations/1 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b" 200 " in await wire.head()


async def test_streams_leave_the_places_of_ordinary_requests(stage: Stage) -> None:
    port = free_port()
    async with (
        serving(stage) as upstream,
        gateway(
            content_url=upstream, metrics_port=port, upstream_connections=4, stream_connections_per_client=200
        ) as address,
        httpx.AsyncClient(base_url=address, trust_env=False) as client,
        AsyncExitStack() as stack,
    ):
        for _ in range(200):
            await stack.enter_async_context(following(address))
        for _ in range(20):
            responses = await asyncio.gather(*(client.get("/conversations/1") for _ in range(4)))
            assert [each.text for each in responses] == ["ordinary"] * 4
        await count(port, OPEN, 200)
        await count(port, "kpi_gateway_upstream_places_taken", 0, upstream="content")
        await stack.aclose()
        await count(port, OPEN, 0)
        await until(lambda: not stage.open)
    assert stage.begun == 200


@pytest.mark.parametrize("settings", [{"stream_connections": 2}, {"stream_connections_per_client": 2}])
async def test_a_stream_too_many_is_refused_and_ended_behind(stage: Stage, settings: dict[str, int]) -> None:
    port = free_port()
    async with (
        serving(stage) as upstream,
        gateway(content_url=upstream, metrics_port=port, **{"stream_connections_per_client": 2} | settings) as address,
        httpx.AsyncClient(base_url=address, trust_env=False) as client,
        following(address),
    ):
        async with following(address):
            refused = await client.get("/conversations/1/events")
            assert (refused.status_code, refused.json()["type"]) == (503, "streams-busy")
            assert refused.headers["retry-after"] == "5"
            await until(lambda: stage.open == 2)
            assert (await client.get("/conversations/1")).text == "ordinary"
            await count(port, REFUSED, 1)
        await count(port, OPEN, 1)
        async with following(address):
            pass
    assert stage.begun == 4


async def test_one_client_does_not_take_the_places_of_another(stage: Stage) -> None:
    async with (
        serving(stage) as upstream,
        gateway(content_url=upstream, stream_connections=20, trusted_proxies=("127.0.0.1/32",)) as address,
        httpx.AsyncClient(base_url=address, trust_env=False) as client,
        following(address),
        following(address),
    ):
        assert (await client.get("/conversations/1/events")).status_code == 503
        forwarded = {"X-Forwarded-For": "203.0.113.7"}
        async with client.stream("GET", "/conversations/1/events", headers=forwarded) as other:
            assert other.status_code == 200


async def test_a_stream_outlives_the_timeouts_of_ordinary_requests(stage: Stage) -> None:
    short = {"upstream_total_timeout": 0.3, "upstream_silence_timeout": 0.2, "upstream_read_timeout": 0.2}
    async with (
        serving(stage) as upstream,
        gateway(content_url=upstream, **short) as address,
        following(address) as wire,
    ):
        await asyncio.sleep(0.7)
        stage.pieces.put_nowait(b"data: late\n\n")
        assert await chunk_of(wire) == b"data: late\n\n"


async def test_a_silent_upstream_is_cut(stage: Stage) -> None:
    port = free_port()
    async with (
        serving(stage) as upstream,
        gateway(content_url=upstream, metrics_port=port, stream_silence_timeout=0.3) as address,
        following(address) as wire,
    ):
        # The response is not complete, and its connection is closed.
        assert await wire.rest() == b""
        await until(lambda: not stage.open)
        await count(port, CUT, 1, reason="silent-upstream")
        await count(port, OPEN, 0)


async def test_the_upstream_stream_ends_when_the_client_leaves(stage: Stage) -> None:
    async with serving(stage) as upstream, gateway(content_url=upstream) as address:
        async with following(address):
            assert stage.open == 1
        await until(lambda: not stage.open)


async def test_a_client_that_does_not_read_is_cut_and_holds_a_bounded_amount(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "SECONDS_PER_TICK", 0.1)
    port = free_port()
    async with (
        serving(stage) as upstream,
        gateway(content_url=upstream, metrics_port=port) as address,
        await Wire.to(address) as wire,
    ):
        # What is in the client's own buffer has been read for the gateway.
        wire.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        await wire.send(EVENTS)
        await wire.head()
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined] a transport that reads
        for _ in range(4_000):
            stage.pieces.put_nowait(b"data: " + b"x" * 10_000 + b"\n\n")
        await until(lambda: stage.begun and not stage.open)
        await count(port, CUT, 1, reason="slow-reader")
        await count(port, OPEN, 0)
    # In all buffers on the way: those of the client and the service, too.
    assert 100_000 < stage.sent < 2_000_000


async def test_an_address_that_goes_out_of_rotation_keeps_its_streams() -> None:
    stages, port = (Stage(), Stage()), free_port()
    async with (
        serving(stages[0]) as first,
        serving(stages[1]) as second,
        gateway(content_url=(first, second), metrics_port=port, upstream_probe_interval=0.05) as address,
        following(address),
        following(address) as wire,
    ):
        # Two streams spread over two equal addresses.
        assert [each.open for each in stages] == [1, 1]
        stages[0].is_ready = stages[1].is_ready = False
        await count(port, "kpi_gateway_upstream_removals_total", 2)
        for each in stages:
            each.pieces.put_nowait(b"data: still here\n\n")
        assert await chunk_of(wire) == b"data: still here\n\n"


async def test_streams_spread_again_over_an_address_that_was_out() -> None:
    stages, port = (Stage(), Stage()), free_port()
    stages[0].is_ready = False
    async with (
        serving(stages[0]) as first,
        serving(stages[1]) as second,
        gateway(content_url=(first, second), metrics_port=port, upstream_probe_interval=0.05) as address,
        AsyncExitStack() as stack,
    ):
        for is_ready, expected in ((False, [0, 3]), (True, [3, 3])):
            stages[0].is_ready = is_ready
            await count(port, "kpi_gateway_upstream_out", not is_ready, upstream="content", address=first)
            for _ in range(3):
                await stack.enter_async_context(following(address))
            assert [each.open for each in stages] == expected


async def test_fields_of_streams_and_retries_pass_in_both_directions(stage: Stage) -> None:
    fields = {"Idempotency-Key": '"k"', "Last-Event-ID": "41", "Prefer": "wait=1", "If-Match": '"7"'}
    async with (
        serving(stage) as upstream,
        gateway(content_url=upstream, cors_origins=("https://app.example.com",)) as address,
        httpx.AsyncClient(base_url=address, trust_env=False) as client,
    ):
        response = await client.get("/conversations/1", headers=fields | {"Origin": "https://app.example.com"})
        asked = {
            "Origin": "https://app.example.com",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "idempotency-key, last-event-id, prefer",
        }
        preflight = await client.options("/conversations", headers=asked)
    for name, value in fields.items():
        assert stage.headers[name.lower().encode()] == value.encode()
    assert {response.headers["idempotency-replayed"], response.headers["etag"]} == {"true", '"8"'}
    assert {"Idempotency-Replayed", "ETag"} <= set(response.headers["access-control-expose-headers"].split(", "))
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-headers"] == asked["Access-Control-Request-Headers"]
