"""The driver against a server that fails in many ways: each is a typed error within its time, and then all is well."""

import asyncio
import gzip
import logging
import socket
import zlib

import pytest
from faulty_server import OK, Behaviour, Connection, answer_well, respond, respond_raw, serving
from kpi_kit.errors import DriverUnavailableError
from kpi_kit.http import (
    ConnectionFailedError,
    HttpClient,
    HttpError,
    HttpTimeoutError,
    HttpValueError,
    Limits,
    NoFreeConnectionError,
    Request,
    Response,
    ResponseFormatError,
    ResponseTooLargeError,
    UnavailableStatusError,
)
from kpi_kit.http.sending import Sender
from pydantic import SecretStr

PATIENCE = 20
# A single attempt, so that each fault is seen. Only where time has to pass the limits are short.
ONCE = Limits(attempts=1, connect=PATIENCE, silence=PATIENCE, total=PATIENCE, max_body_bytes=100_000)
SHORT = Limits(attempts=1, connect=PATIENCE, silence=0.4, total=0.8)
TWICE = Limits(attempts=2, silence=0.4, total=PATIENCE, first_wait=0, longest_wait=0, jitter=0)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"


async def reset_at_once(connection: Connection) -> None:
    connection.reset()


async def close_at_once(connection: Connection) -> None:
    connection.writer.close()


async def reset_within_the_body(connection: Connection) -> None:
    await connection.send(HEAD + b"x")
    connection.reset()


async def hang_before_the_head(connection: Connection) -> None:
    await connection.hang()


async def hang_within_the_head(connection: Connection) -> None:
    await connection.send(b"HTTP/1.1 200 OK\r\nContent-")
    await connection.hang()


async def hang_within_the_body(connection: Connection) -> None:
    await connection.send(HEAD + b"x")
    await connection.hang()


async def drip(connection: Connection) -> None:
    """A byte before each time limit of silence: without an end."""
    await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await connection.send(b"1\r\nx\r\n")
        await asyncio.sleep(0.05)


async def send_without_end(connection: Connection) -> None:
    await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await connection.send(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")


def gzipped(data: bytes) -> Behaviour:
    return respond(200, data, Content_Encoding="gzip", Content_Type="application/json")


FAULTS: dict[str, tuple[Behaviour, type[HttpError]]] = {
    "resets at once": (reset_at_once, ConnectionFailedError),
    "closes at once": (close_at_once, ConnectionFailedError),
    "resets within the body": (reset_within_the_body, ConnectionFailedError),
    "hangs before the head": (hang_before_the_head, HttpTimeoutError),
    "hangs within the head": (hang_within_the_head, HttpTimeoutError),
    "hangs within the body": (hang_within_the_body, HttpTimeoutError),
    "drips": (drip, HttpTimeoutError),
    "503": (respond(503), UnavailableStatusError),
    "malformed": (respond_raw(b"hunter2 is no HTTP\r\n\r\n"), ConnectionFailedError),
    "endless head": (respond_raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000), ConnectionFailedError),
    "shorter than its length": (respond_raw(HEAD + b"hunter2"), ConnectionFailedError),
    "two lengths": (
        respond_raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
        ConnectionFailedError,
    ),
    "without end": (send_without_end, ResponseTooLargeError),
    "a bomb of gzip": (gzipped(gzip.compress(bytes(50_000_000))), ResponseTooLargeError),
    "damaged gzip": (gzipped(b"hunter2"), ResponseFormatError),
    "gzip without its end": (gzipped(gzip.compress(b"1")[:-4]), ResponseFormatError),
    "more after the end of gzip": (gzipped(gzip.compress(b"1") + b"hunter2"), ResponseFormatError),
    "unknown coding": (respond(200, b"1", Content_Encoding="br"), ResponseFormatError),
    "no JSON": (respond(200, b"<html>hunter2"), ResponseFormatError),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_each_fault_is_a_typed_error_in_time_and_the_next_call_works(
    fault: tuple[Behaviour, type[HttpError]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    behaviour, expected = fault
    limits = SHORT if expected is HttpTimeoutError else ONCE
    async with serving(behaviour) as server, HttpClient.from_url(server.url, limits=limits) as client:
        async with asyncio.timeout(2 * PATIENCE):
            with pytest.raises(expected) as caught:
                await client.with_token("hunter2").get_json("/x", params={"key": "hunter2"})
            assert await client.get_json("/x", timeout=PATIENCE) == {"id": "a"}
        assert server.lines == ["GET /x?key=hunter2", "GET /x"]
    assert "hunter2" not in f"{caught.value} {caught.value!r} {caught.value.__cause__}"
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize("name", ["resets at once", "resets within the body", "hangs before the head", "malformed"])
async def test_a_get_is_sent_again_and_a_post_is_not(name: str) -> None:
    behaviour, expected = FAULTS[name]
    async with serving(behaviour) as server, HttpClient.from_url(server.url, limits=TWICE) as client:
        assert await client.get_json("/x") == {"id": "a"}
        server.behaviours.append(behaviour)
        with pytest.raises(expected):
            await client.post_json("/x", {})
        assert server.lines == ["GET /x", "GET /x", "POST /x"]


async def test_a_refused_connection_is_tried_again() -> None:
    async with serving() as server:
        port = server.port
    async with HttpClient.from_url(f"http://127.0.0.1:{port}", limits=TWICE) as client:
        with pytest.raises(ConnectionFailedError, match="no connection") as caught:
            await client.get("/x")
        assert isinstance(caught.value, DriverUnavailableError)
        listener = await asyncio.start_server(server.serve, "127.0.0.1", port)
        async with listener:
            assert await client.get_json("/x") == {"id": "a"}


async def test_an_unknown_host_is_a_connection_error() -> None:
    async with HttpClient.from_url("http://surely.invalid", limits=ONCE) as client:
        with pytest.raises(HttpError) as caught:
            await client.get("/x")
    assert isinstance(caught.value, DriverUnavailableError)


async def test_a_server_that_accepts_nothing_is_a_timeout() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        # The queue of connections is full with these; the next gets no response to its SYN.
        listener.listen(0)
        address = listener.getsockname()
        with socket.socket() as first, socket.socket() as second:
            for each in (first, second):
                each.setblocking(False)
                each.connect_ex(address)
            limits = Limits(attempts=1, connect=0.3, total=PATIENCE)
            async with HttpClient.from_url(f"http://127.0.0.1:{address[1]}", limits=limits) as client:
                with pytest.raises(HttpTimeoutError, match="no connection in time"):
                    await client.get("/x")


async def test_retry_after_is_kept() -> None:
    times: list[float] = []

    async def note(connection: Connection) -> None:
        times.append(asyncio.get_running_loop().time())
        await (respond(503, Retry_After="1") if len(times) == 1 else answer_well)(connection)

    async with serving(note, note) as server, HttpClient.from_url(server.url, limits=TWICE) as client:
        assert await client.get_json("/x") == {"id": "a"}
    assert times[1] - times[0] >= 1


async def test_one_deadline_covers_all_attempts_and_their_waits() -> None:
    limits = Limits(attempts=100, first_wait=0.05, longest_wait=0.1, jitter=0.01, total=1, open_after=1000)
    async with serving(*[respond(503)] * 100) as server, HttpClient.from_url(server.url, limits=limits) as client:
        async with asyncio.timeout(PATIENCE):
            # Which of both it is depends on where the deadline falls: in an attempt, or in the wait after one.
            with pytest.raises((HttpTimeoutError, UnavailableStatusError)):
                await client.get("/x")
        assert 1 < len(server.lines) < 100


class Answers:
    """A transport that takes no time: the answers one after the other, and then none."""

    def __init__(self, *statuses: int) -> None:
        self._statuses = list(statuses)

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def send(self, _request: Request) -> Response:
        if not self._statuses:
            await asyncio.Event().wait()
        return Response(self._statuses.pop(0))


@pytest.mark.parametrize(
    ("wait", "expected"), [(60, UnavailableStatusError), (0, HttpTimeoutError)], ids=["in a wait", "in an attempt"]
)
async def test_the_error_at_the_deadline_is_of_what_was_waited_for(wait: float, expected: type[HttpError]) -> None:
    limits = Limits(attempts=100, first_wait=wait, longest_wait=wait, jitter=0, total=0.2)
    sender = Sender(Answers(503, 503), origin="http://stock", limits=limits)
    await sender.open()
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(expected):
            await sender.send(Request("GET", "stock", "/x"))


async def test_the_deadline_of_a_call_can_be_its_own() -> None:
    limits = Limits(attempts=1, silence=60, total=60)
    async with serving(hang_before_the_head) as server, HttpClient.from_url(server.url, limits=limits) as client:
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(HttpTimeoutError, match=r"within 0\.1 s"):
                await client.get("/x", timeout=0.1)


async def test_a_host_that_is_too_slow_opens_the_circuit_and_a_caller_that_goes_does_not() -> None:
    limits = Limits(attempts=1, silence=60, total=0.1, open_after=1, open_for=60)
    hang = hang_before_the_head
    async with serving(hang, hang) as server, HttpClient.from_url(server.url, limits=limits) as client:
        waiting = asyncio.create_task(client.get("/x", timeout=60))
        await server.came.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert client.circuit == "closed"
        with pytest.raises(HttpTimeoutError):
            await client.get("/x")
        assert client.circuit == "open"


async def test_without_a_free_connection_the_request_is_not_sent_and_the_host_is_not_blamed() -> None:
    limits = Limits(attempts=1, connect=0.4, silence=60, max_connections=1, open_after=1)
    async with serving(hang_before_the_head) as server, HttpClient.from_url(server.url, limits=limits) as client:
        waiting = asyncio.create_task(client.get("/first"))
        await server.came.wait()
        with pytest.raises(NoFreeConnectionError):
            await client.get("/second")
        assert client.circuit == "closed"
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await client.get_json("/third") == {"id": "a"}
        assert server.lines == ["GET /first", "GET /third"]


async def test_connections_are_kept_and_cookies_are_not() -> None:
    cookie = respond(200, b"1", Set_Cookie="session=hunter2")
    async with serving(cookie, cookie) as server, HttpClient.from_url(server.url) as client:
        for each in (client, client.with_token("a"), client.with_headers({"X-A": "b"})):
            await each.get("/x")
        assert server.connections == 1
        assert [each.header("cookie") for each in server.requests] == [None] * 3


async def test_bytes_after_a_response_are_not_taken_for_the_next_one() -> None:
    other = b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"id": "no"}'
    async with serving(respond_raw(OK + other, close=False)) as server, HttpClient.from_url(server.url) as client:
        assert await client.get_json("/x") == {"id": "a"}
        assert await client.get_json("/y") == {"id": "a"}


async def test_a_proxy_gets_the_whole_address() -> None:
    async with (
        serving() as proxy,
        HttpClient.from_url(
            "http://api.invalid/v1", proxy=SecretStr(f"http://name:hunter2@127.0.0.1:{proxy.port}")
        ) as client,
    ):
        assert await client.get_json("/x") == {"id": "a"}
    assert proxy.lines == ["GET http://api.invalid/v1/x"]
    assert proxy.requests[0].header("proxy-authorization") == "Basic bmFtZTpodW50ZXIy"


async def test_gzip_is_decoded() -> None:
    async with serving(gzipped(gzip.compress(b'"abc"'))) as server, HttpClient.from_url(server.url) as client:
        assert await client.get_json("/x") == "abc"
        assert server.requests[0].header("accept-encoding") == "gzip"


async def test_a_bomb_is_found_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only as many bytes as are allowed ever leave the decoder."""
    sizes: list[int] = []
    real = zlib.decompressobj

    class Measured:
        def __init__(self, wbits: int) -> None:
            self._real = real(wbits)

        def decompress(self, data: bytes, limit: int) -> bytes:
            found = self._real.decompress(data, limit)
            sizes.append(len(found))
            return found

        def __getattr__(self, name: str) -> object:
            return getattr(self._real, name)

    monkeypatch.setattr(zlib, "decompressobj", Measured)
    bomb = gzipped(gzip.compress(bytes(50_000_000)))
    async with serving(bomb) as server, HttpClient.from_url(server.url, limits=ONCE) as client:
        with pytest.raises(ResponseTooLargeError):
            await client.get("/x")
    assert sum(sizes) <= ONCE.max_body_bytes + 1


async def test_the_headers_of_the_current_request_are_passed_on() -> None:
    current = {"X-Request-ID": "r1", "traceparent": "00-1-2-01"}
    async with (
        serving() as server,
        HttpClient.from_url(server.url, context_headers=lambda: current) as client,
    ):
        await client.with_token("a").get("/x")
        await client.get("/y", headers={"x-request-id": "own"})
    first, second = server.requests
    assert (first.header("x-request-id"), first.header("traceparent")) == ("r1", "00-1-2-01")
    assert second.header("x-request-id") == "own"


async def test_no_key_is_passed_on_that_would_make_a_post_repeatable() -> None:
    passed_on = {"Idempotency-Key": "incoming"}
    async with HttpClient.from_url("http://127.0.0.1:1", context_headers=lambda: passed_on) as client:
        with pytest.raises(HttpValueError, match="belongs to one request"):
            await client.post_json("/x", {})
