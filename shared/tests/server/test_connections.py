"""Slow, many and reused connections, over real sockets, with a clock that runs a hundred times as fast."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from ipaddress import ip_network

import pytest
from kpi_shared.server.connections import ConnectionLimits, Pace
from kpi_shared.server.options import ON_STOP
from server_support import LARGE, App, run_server, serve

Serving = Callable[..., Awaitable[int]]
GET = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kpi_shared.server.connections.SECONDS_PER_TICK", 0.01)


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
async def port(app: App) -> AsyncIterator[int]:
    async with serve(app) as port:
        yield port


async def exchange(port: int, *parts: bytes) -> bytes:
    """Send the parts and return everything that the server sends until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("begun", [b"GET / HTTP/1.1\r\nHost: te", GET % b"first" + b"GET /sec"])
async def test_an_incomplete_head_is_408(port: int, begun: bytes) -> None:
    response = await exchange(port, begun)
    assert b"HTTP/1.1 408 " in response
    assert b"slow-head" in response
    assert (b"/first" in response) == (b"/first" in begun)


@pytest.mark.usefixtures("fast")
async def test_a_silent_connection_is_closed_without_a_response(port: int) -> None:
    assert await exchange(port) == b""
    assert await exchange(port, b"\r\n\r\n") == b""


@pytest.mark.usefixtures("fast")
async def test_an_idle_connection_is_closed_after_a_while(port: int) -> None:
    response = await exchange(port, GET % b"idle")
    assert response.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" not in response


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("framing", [b"Content-Length: 100000", b"Transfer-Encoding: chunked"])
async def test_a_stalled_body_is_408_and_disconnects_the_application(port: int, app: App, framing: bytes) -> None:
    response = await exchange(port, b"POST /length HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n10\r\n")
    assert response.startswith(b"HTTP/1.1 408 ")
    assert b"slow-body" in response
    async with asyncio.timeout(5):
        await app.left.wait()


@pytest.mark.usefixtures("fast")
async def test_a_body_that_the_application_does_not_read_is_not_slow(port: int, app: App) -> None:
    body = b"POST /wait HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000
    responding = asyncio.create_task(exchange(port, body))
    await app.entered.wait()
    # Ten times as long as a slow client would get.
    await asyncio.sleep(1)
    app.release.set()
    assert b"/wait" in await responding


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("path", [b"large", b"large HTTP/1.1\r\nHost: a\r\n\r\nGET /large"])
async def test_a_client_that_does_not_read_its_response_is_reset(port: int, path: bytes) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", port))
        await loop.sock_sendall(client, GET % path)
        # A reset is an error of the socket as soon as it arrives.
        async with asyncio.timeout(10):
            while not client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):  # noqa: ASYNC110 nothing is read here
                await asyncio.sleep(0.02)


def test_the_minimum_pace() -> None:
    slow, steady, little = Pace(), Pace(), Pace()
    assert [slow.is_too_slow(499 * second, 10_000) for second in range(9)] == [False] * 8 + [True]
    assert not any(steady.is_too_slow(500 * second, 10_000) for second in range(100))
    # Fifty bytes a second, all acknowledged except those in transit.
    assert not any(little.is_too_slow(50 * second, 50) for second in range(100))
    # A burst gives no extra time later.
    burst = Pace()
    assert [burst.is_too_slow(0 if not second else 1_000_000, 10_000) for second in range(10)] == [False] * 9 + [True]


async def test_an_address_has_a_limit_and_a_trusted_proxy_none(app: App) -> None:
    for trusted, admitted in (((), 2), ((ip_network("127.0.0.0/8"),), 4)):
        async with serve(app, limits=ConnectionLimits(2, trusted)) as port:
            streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
            for _, writer in streams:
                writer.write(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
            statuses = [(await reader.readline())[9:12] for reader, _ in streams]
            for _, writer in streams:
                writer.close()
        assert sorted(statuses) == [b"200"] * admitted + [b"503"] * (4 - admitted)


async def test_a_closed_connection_no_longer_counts_towards_the_limit(app: App) -> None:
    async with serve(app, limits=ConnectionLimits(1)) as port:
        for _ in range(5):
            assert b"/x" in await exchange(port, b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")


async def test_a_pipelined_request_is_refused_after_the_response_before_it(port: int, app: App) -> None:
    responding = asyncio.create_task(exchange(port, GET % b"wait" + b"no http at all\r\n\r\n"))
    await app.entered.wait()
    app.release.set()
    response = await responding
    assert response.startswith(b"HTTP/1.1 200 ")
    assert response.index(b"/wait") < response.index(b"HTTP/1.1 400 ")


async def test_pipelined_requests_in_parts_of_any_size_are_answered_in_order(port: int) -> None:
    post = b"POST /length HTTP/1.1\r\nHost: a\r\n"
    last = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    chunked = post + b"Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n"
    data = GET % b"one" + b"\r\n" + chunked + post + b"Content-Length: 3\r\n\r\nabc" + GET % b"two" + last + b"trash"
    for size in (1, 2, 3, 5, 7, len(data)):
        response = await exchange(port, *[data[at : at + size] for at in range(0, len(data), size)])
        bodies = [part.partition(b"\r\n\r\n")[2] for part in response.split(b"HTTP/1.1 200 OK\r\n")[1:]]
        assert bodies == [b"/one", b"5", b"3", b"/two", b"/last"]


async def test_a_response_before_the_end_of_the_body_closes_the_connection(port: int) -> None:
    response = await exchange(
        port, b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n" + b"GET / HTTP/1.1\r\n\r\n"
    )
    assert response.count(b"HTTP/1.1 ") == 1
    assert b"connection: close\r\n" in response


async def test_every_response_has_the_security_headers_once(app: App) -> None:
    hsts = (("Strict-Transport-Security", "max-age=1"),)
    close = b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    async with serve(app, headers=hsts) as port:
        for head in (b"GET /x" + close, b"GET /own" + close, b"no http\r\n\r\n"):
            response = (await exchange(port, head)).lower()
            assert response.count(b"x-content-type-options: nosniff\r\n") == 1
            assert response.count(b"strict-transport-security: max-age=1\r\n") == 1
            assert response.count(b"referrer-policy: ") == 1
            assert (b"referrer-policy: same-origin\r\n" in response) == (b"own" in head)
            assert b"server: " not in response


async def test_head_has_the_headers_of_get(port: int) -> None:
    response = await exchange(port, b"HEAD /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert b"content-length: 2\r\n" in response
    assert response.endswith(b"\r\n\r\n")


async def test_an_upgrade_is_ignored(port: int, caplog: pytest.LogCaptureFixture) -> None:
    head = b"GET /x HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    with caplog.at_level(logging.WARNING):
        response = await exchange(port, head + GET % b"second")
    assert response.startswith(b"HTTP/1.1 200 ")
    assert b"/second" not in response
    assert not caplog.records


async def test_http_1_0_gets_no_chunked_response(port: int) -> None:
    response = await exchange(port, b"GET /large HTTP/1.0\r\n\r\n")
    assert b"transfer-encoding" not in response
    assert len(response.partition(b"\r\n\r\n")[2]) == LARGE


async def test_too_many_empty_lines_are_refused(port: int) -> None:
    assert (await exchange(port, b"\r\n" * 100_000)).startswith(b"HTTP/1.1 400 ")
    assert (await exchange(port, b"\r\n\r\nGET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).startswith(
        b"HTTP/1.1 200 "
    )


async def test_too_many_tiny_chunks_are_refused(port: int) -> None:
    head = b"POST /length HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert (await exchange(port, head + b"1\r\n \r\n" * 40_000)).startswith(b"HTTP/1.1 400 ")


async def test_an_absolute_target_without_a_path_is_the_root(port: int) -> None:
    response = await exchange(port, b"GET http://a?b=1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert response.startswith(b"HTTP/1.1 200 ")
    assert response.endswith(b"/")


async def half_close(port: int, *parts: bytes) -> bytes:
    """Send the parts, close the sending side and return all that the server sends until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
        writer.write_eof()
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


POST = b"POST /length HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    ("request_", "bodies"),
    [
        (GET % b"first", [b"/first"]),
        (GET.replace(b"1.1", b"1.0") % b"first", [b"/first"]),
        (GET % b"first" + GET % b"second" + GET % b"third", [b"/first", b"/second", b"/third"]),
        (POST + b"Content-Length: 5\r\n\r\nhello", [b"5"]),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", [b"5"]),
    ],
)
async def test_a_client_that_closes_its_sending_side_gets_its_whole_responses(
    port: int, request_: bytes, bodies: list[bytes]
) -> None:
    response = await half_close(port, request_)
    assert response.count(b" 200 OK\r\n") == len(bodies)
    assert [part.partition(b"HTTP/1.1 ")[0] for part in response.split(b"\r\n\r\n")[1:]] == bodies


async def test_a_large_response_to_a_half_closed_connection_is_whole(port: int) -> None:
    _, _, body = (await half_close(port, GET.replace(b"1.1", b"1.0") % b"large")).partition(b"\r\n\r\n")
    assert len(body) == LARGE


@pytest.mark.parametrize("path", [b"wait", b"begun"])
async def test_a_late_response_to_a_half_closed_connection_is_whole(port: int, app: App, path: bytes) -> None:
    response = asyncio.create_task(half_close(port, GET % path))
    await app.entered.wait()
    app.release.set()
    head, _, body = (await response).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body == (b"/wait" if path == b"wait" else b"5\r\nfirst\r\n4\r\nlast\r\n0\r\n\r\n")


@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize(
    ("path", "probe", "rest"),
    [
        (b"wait", b"HTTP/1.1 100 Continue\r\n\r\n", b"\r\n\r\n/wait"),
        (b"begun", b"5\r\nfirst\r\n0", b"4\r\nlast\r\n0\r\n\r\n"),
    ],
)
async def test_a_probe_does_not_change_a_very_late_response(
    port: int, app: App, path: bytes, probe: bytes, rest: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GET % path)
    writer.write_eof()
    async with asyncio.timeout(10):
        probed = await reader.readuntil(probe)
        app.release.set()
        response = await reader.read()
    writer.close()
    assert response.endswith(rest)
    assert (probed + response).count(b" 200 OK\r\n") == 1


@pytest.mark.usefixtures("fast")
async def test_http_1_0_has_no_interim_response(port: int, app: App) -> None:
    response = asyncio.create_task(half_close(port, GET.replace(b"1.1", b"1.0") % b"wait"))
    await app.entered.wait()
    # Long after the probe of other versions.
    await asyncio.sleep(0.2)
    app.release.set()
    assert (await response).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    "incomplete",
    [
        b"",
        b"\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n",
        POST + b"Content-Length: 5\r\n\r\nhell",
        POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    ],
)
async def test_an_incomplete_request_is_closed_at_once(port: int, incomplete: bytes) -> None:
    """A timeout would be a 408."""
    assert await half_close(port, incomplete) in {b"", b"HTTP/1.1 100 Continue\r\n\r\n"}
    # Also if it follows a complete one, whose response is then sent.
    response = await half_close(port, GET % b"first" + incomplete)
    assert response.count(b" 200 OK\r\n") == 1
    assert b"HTTP/1.1 4" not in response


@pytest.mark.usefixtures("fast")
async def test_a_client_that_has_closed_its_connection_ends_the_request(port: int, app: App) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GET % b"hang")
    await app.entered.wait()
    writer.close()
    async with asyncio.timeout(10):
        await app.left.wait()


async def test_a_request_on_its_way_while_the_server_stops_is_answered() -> None:
    async with run_server(App()) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        request = b"GET /last HTTP/1.1\r\nHost: test\r\n\r\n"
        writer.write(request)
        assert b"connection: close" not in await reader.readuntil(b"/last")
        server.stop()
        writer.write(request)
        response = await reader.read()
        assert response.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close\r\n" in response
        writer.close()


async def test_an_idle_connection_ends_soon_after_the_server_stops() -> None:
    async with run_server(App()) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /last HTTP/1.1\r\nHost: test\r\n\r\n")
        await reader.readuntil(b"/last")
        server.stop()
        assert await reader.read() == b""
        writer.close()


async def test_each_function_for_the_stop_is_called_once_for_all_connections() -> None:
    calls: list[str] = []
    async with run_server(App()) as server, AsyncExitStack() as stack:
        server.state[ON_STOP] = [partial(calls.append, "streams"), partial(calls.append, "uploads")]
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            stack.callback(writer.close)
            writer.write(GET % b"open")
            await reader.readuntil(b"/open")
        server.stop()
    assert calls == ["streams", "uploads"]
