"""The gateway's metrics, and how it forwards trace headers, over real sockets."""

import asyncio
import socket

import httpx
import pytest
from gateway_support import Echo, Wire, gateway, responding, serving
from kpi_gateway.metrics import register_addresses, register_limits
from kpi_gateway.upstream.balancing import Address
from kpi_shared.telemetry.metrics import Metrics
from kpi_shared.testing.metrics import Scrape
from kpi_shared.testing.process import free_port
from prometheus_client import generate_latest
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

REQUESTS = "kpi_http_requests_total"
TRACE = "0af7651916cd43dd8448eb211c80319c"
VALID = f"00-{TRACE}-b7ad6b7169203331-01"


async def scrape(port: int) -> Scrape:
    return await asyncio.to_thread(Scrape.of, port)


async def scrape_after(port: int, requests: int) -> Scrape:
    """The metrics once so many requests are counted, which is after their responses are sent."""
    return await asyncio.to_thread(
        Scrape.wait_for,
        port,
        lambda found: found.value(REQUESTS) >= requests and not found.value("kpi_http_requests_in_flight"),
    )


async def test_requests_are_counted_by_the_prefix_of_the_route_table() -> None:
    port = free_port()
    async with (
        serving(Echo()) as upstream,
        gateway(content_url=upstream, metrics_port=port) as address,
        httpx.AsyncClient(base_url=address, trust_env=False) as client,
    ):
        for path in ("/api/v1/posts/1", "/api/posts/2", "/posts"):
            await client.get(path)
        await client.post("/api/v1/votes")
        await client.get("/health/live")
        await client.head("/health/live")
        await client.get("/nowhere/1")
        await client.get("/nowhere/2")
        await client.request("PROPFIND", "/posts/1")
        found = await scrape_after(port, requests=9)
        assert (await client.get("/metrics")).status_code == 404
    assert found.value(REQUESTS, part="gateway", route="/posts", method="GET", status="200") == 3
    assert found.value(REQUESTS, route="/votes", method="POST", status="200") == 1
    assert found.value(REQUESTS, route="/health/live", method="GET", status="200") == 1
    assert found.value(REQUESTS, route="unmatched", status="404") == 2
    assert found.value(REQUESTS, method="OTHER") == 1
    assert found.labels(REQUESTS, "route") == {"/posts", "/votes", "/health/live", "unmatched"}
    assert found.value("kpi_http_requests_in_flight") == 0


async def test_upstream_errors_are_counted_by_kind() -> None:
    port, silent = free_port(), asyncio.Event()

    async def wait(_request: Request) -> Response:
        await silent.wait()
        return Response()

    async with (
        serving(responding(wait)) as upstream,
        gateway(content_url=upstream, metrics_port=port, upstream_read_timeout=0.2) as address,
        httpx.AsyncClient(base_url=address, trust_env=False) as client,
    ):
        assert (await client.get("/auth/me")).status_code == 502
        assert (await client.get("/posts")).status_code == 504
        found = await scrape_after(port, requests=2)
        silent.set()
    errors = "kpi_gateway_upstream_errors_total"
    assert found.value(errors, upstream="auth", kind="upstream-unreachable") == 1
    assert found.value(errors, upstream="content", kind="upstream-timeout") == 1
    assert found.value(REQUESTS, route="/posts", status="504") == 1


async def test_a_response_that_is_still_being_sent_is_in_flight() -> None:
    port, rest = free_port(), asyncio.Event()

    async def respond(_request: Request) -> Response:
        async def pieces() -> object:
            yield b"first"
            await rest.wait()

        return StreamingResponse(pieces())  # type: ignore[arg-type] it is an async generator

    async with (
        serving(responding(respond)) as upstream,
        gateway(content_url=upstream, metrics_port=port) as address,
        httpx.AsyncClient(base_url=address, trust_env=False) as client,
        client.stream("GET", "/posts") as begun,
    ):
        body = begun.aiter_raw()
        assert await anext(body) == b"first"
        assert (await scrape(port)).value("kpi_http_requests_in_flight") == 1
        rest.set()
        assert [piece async for piece in body] == []


async def test_a_client_that_disconnects_without_a_response_is_counted() -> None:
    port, entered = free_port(), asyncio.Event()

    async def wait(_request: Request) -> Response:
        entered.set()
        await asyncio.Event().wait()
        return Response()

    async with (
        serving(responding(wait)) as upstream,
        # It learns of the disconnect after 3 s at most.
        gateway(content_url=upstream, metrics_port=port, upstream_read_timeout=60) as address,
    ):
        async with await Wire.to(address) as wire:
            await wire.send(b"GET /posts HTTP/1.1\r\nHost: a\r\n\r\n")
            await entered.wait()
        async with asyncio.timeout(10):
            while (found := await scrape(port)).value("kpi_http_requests_in_flight"):  # noqa: ASYNC110
                # Only a scrape shows it.
                await asyncio.sleep(0.02)
    assert found.value(REQUESTS, route="/posts", status="none") == 1


async def test_the_gateway_serves_even_if_all_metrics_ports_are_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        async with (
            gateway(metrics_port=taken.getsockname()[1]) as address,
            httpx.AsyncClient(base_url=address, trust_env=False) as client,
        ):
            assert (await client.get("/health/live")).status_code == 200


def test_metrics_read_the_current_state_of_addresses_and_limits() -> None:
    metrics = Metrics("gateway")
    one, two = Address("http://10.0.0.1:8002"), Address("http://10.0.0.2:8002")
    register_addresses(metrics, lambda: [("content", one), ("content", two)])
    register_limits(metrics, lambda: {("login", "refused"): 4})
    one.in_flight, one.errors, one.is_out = 9, 7, True
    two.in_flight = 2
    found = Scrape(generate_latest(metrics.registry).decode())
    first = {"upstream": "content", "address": "http://10.0.0.1:8002"}
    assert found.value("kpi_gateway_upstream_in_flight", **first) == 9
    assert found.value("kpi_gateway_upstream_in_flight") == 11
    assert found.value("kpi_gateway_upstream_failures_total", **first) == 7
    assert found.value("kpi_gateway_upstream_out", **first) == 1
    assert found.value("kpi_gateway_limit_decisions_total", policy="login", outcome="refused") == 4


async def test_connections_are_counted_by_address() -> None:
    port = free_port()
    async with (
        serving(Echo()) as upstream,
        gateway(content_url=upstream, metrics_port=port) as address,
        httpx.AsyncClient(base_url=address, trust_env=False) as client,
    ):
        await client.get("/posts")
        found = await scrape_after(port, requests=1)
    of_content = {"upstream": "content", "address": upstream}
    assert found.value("kpi_gateway_upstream_connections", **of_content) == 1
    assert found.value("kpi_gateway_upstream_connections_idle", **of_content) == 1
    assert found.value("kpi_gateway_upstream_in_flight", **of_content) == 0


@pytest.mark.parametrize("field", ["traceparent", "TraceParent"])
async def test_a_valid_trace_is_forwarded(client: httpx.AsyncClient, echo: Echo, field: str) -> None:
    await client.get("/posts", headers={field: VALID, "tracestate": "a=1,b=2"})
    headers = dict(echo.seen[0]["headers"])
    assert (headers["traceparent"], headers["tracestate"]) == (VALID, "a=1,b=2")


@pytest.mark.parametrize("value", ["garbage", VALID.upper(), f"00-{'0' * 32}-b7ad6b7169203331-01", f"{VALID}-x"])
async def test_an_invalid_trace_is_dropped(client: httpx.AsyncClient, echo: Echo, value: str) -> None:
    await client.get("/posts", headers={"traceparent": value, "tracestate": "a=1", "x-other": "1"})
    headers = dict(echo.seen[0]["headers"])
    assert not {"traceparent", "tracestate"} & set(headers)
    assert headers["x-other"] == "1"


async def test_two_trace_headers_are_dropped(client: httpx.AsyncClient, echo: Echo) -> None:
    await client.get("/posts", headers=[("traceparent", VALID), ("traceparent", VALID), ("tracestate", "a=1")])
    assert not {"traceparent", "tracestate"} & {name for name, _ in echo.seen[0]["headers"]}


async def test_without_a_trace_none_is_created(client: httpx.AsyncClient, echo: Echo) -> None:
    await client.get("/posts")
    assert "traceparent" not in dict(echo.seen[0]["headers"])
