"""A service that stops says of a request that crossed the end of its connection that it has begun nothing of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx
import pytest
from gateway_support import Echo, RawHandler, gateway, head_of, raw_upstream, serving
from kpi_gateway.upstream.balancing import Address
from kpi_gateway.upstream.rotation import ask
from kpi_shared.server.refusals import NOT_BEGUN_RESPONSE

UNMARKED = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nX-Request-Begun: no\r\nContent-Length: 0\r\n\r\n"
NOT_READY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
# The gateway forwards a longer body while it arrives.
LONG = 300 * 1024


class Stopping:
    """An upstream that gives each request the next of the responses; ``heads`` are those of the requests."""

    def __init__(self, *responses: bytes) -> None:
        self._responses = list(responses)
        self.heads: list[bytes] = []

    @property
    def handler(self) -> RawHandler:
        return self._handle

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await head_of(reader)
                if b"/health/ready" in head and len(self._responses) == 1:
                    # A probe of the gateway's own.
                    writer.write(OK)
                    continue
                self.heads.append(head)
                response = self._responses.pop(0) if len(self._responses) > 1 else self._responses[0]
                writer.write(response)
                if b"onnection: close" in response:
                    writer.write_eof()
                    # What arrives later is discarded, without a reset.
                    await reader.read()
                    break
        writer.close()


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
async def test_such_a_request_is_repeated_at_another_address_whatever_it_is(method: str) -> None:
    stopping, echo = Stopping(NOT_BEGUN_RESPONSE), Echo()
    async with (
        raw_upstream(stopping.handler) as one,
        serving(echo) as two,
        gateway(content_url=f"{one},{two}", upstream_probe_interval=60) as address,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        for number in range(4):
            response = await client.request(method, f"{address}/posts", content=f"body {number}")
            assert response.status_code == 200
            assert response.json()["body"] == f"body {number}"
    assert stopping.heads
    assert len([each for each in echo.seen if each["path"] == "/posts"]) == 4


async def test_it_is_repeated_once() -> None:
    one, two = Stopping(NOT_BEGUN_RESPONSE), Stopping(NOT_BEGUN_RESPONSE)
    async with (
        raw_upstream(one.handler) as first,
        raw_upstream(two.handler) as second,
        gateway(content_url=f"{first},{second}", upstream_probe_interval=60) as address,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        response = await client.post(f"{address}/posts", content="body")
    assert len(one.heads) == len(two.heads) == 1
    assert_is_stopping(response)


async def test_a_body_that_is_forwarded_while_it_arrives_cannot_be_repeated() -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b"x" * (LONG // 10)

    stopping = Stopping(NOT_BEGUN_RESPONSE)
    async with (
        raw_upstream(stopping.handler) as one,
        gateway(content_url=one) as address,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        response = await client.post(f"{address}/posts", content=body())
    assert len(stopping.heads) == 1
    assert_is_stopping(response)


def assert_is_stopping(response: httpx.Response) -> None:
    assert (response.status_code, response.json()["type"]) == (503, "upstream-stopping")
    assert response.headers["retry-after"] == "1"
    assert "x-request-begun" not in response.headers


@pytest.mark.parametrize(("sent", "status"), [(UNMARKED, 408), (OK, 200)])
async def test_only_a_marked_408_is_repeated_and_the_mark_does_not_pass(sent: bytes, status: int) -> None:
    upstream = Stopping(sent)
    async with (
        raw_upstream(upstream.handler) as one,
        gateway(content_url=one) as address,
        httpx.AsyncClient(trust_env=False) as client,
    ):
        response = await client.post(f"{address}/posts", content="body")
    assert (response.status_code, len(upstream.heads)) == (status, 1)
    assert "x-request-begun" not in response.headers


async def test_a_probe_that_crosses_the_end_of_its_connection_asks_again() -> None:
    upstream = Stopping(OK, NOT_BEGUN_RESPONSE, NOT_READY, NOT_READY)
    async with raw_upstream(upstream.handler) as url:
        address = Address(url)
        assert await ask(address, 5, fresh=False) == ""
        assert await ask(address, 5, fresh=False) == "status 503"
        for connection in list(address.open):
            connection.abandon(ConnectionError())
    assert len(upstream.heads) == 3
