"""One request to a receiver: where the connection goes, which response is a success, and how much of it is read."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from ipaddress import ip_address
from pathlib import Path

import pytest
from destination_support import FixedResolver, make_destinations
from faulty_server import Behaviour, Connection, FaultyServer, respond, respond_raw, serving
from kpi_kit.bounded_network import BoundedNetwork
from kpi_kit.destinations import DestinationError, GoneError, RefusedDestinationError, UnavailableDestinationError
from kpi_kit.posting import Poster, WebhookSender, _choose
from kpi_kit.resolver import Resolver
from kpi_shared.testing.process import free_port
from mail_servers import certificate
from notify_servers import log_everything

BODY = b'{"type":"account.renamed"}'
FIELDS = {"webhook-id": "evt_1"}
URL = "http://hooks.example.com/"
HERE = FixedResolver(["127.0.0.1"])


class Rebinding:
    """A name server that gives another address at each look-up."""

    def __init__(self, *found: Sequence[str]) -> None:
        self.found = list(found)

    async def __call__(self, _host: str) -> Sequence[str]:
        return self.found.pop(0)


async def send(url: str, resolver: Resolver = HERE, *, seconds: float = 30) -> None:
    destinations = make_destinations(resolver, "127.0.0.0/8")
    await WebhookSender(destinations, seconds=seconds, user_agent="a-part/1.0").send(url, BODY, FIELDS)


async def fail(url: str, resolver: Resolver = HERE, *, seconds: float = 30) -> DestinationError:
    with pytest.raises(UnavailableDestinationError) as failure:
        await send(url, resolver, seconds=seconds)
    return failure.value


async def reset(connection: Connection) -> None:
    connection.reset()


async def hang(connection: Connection) -> None:
    await connection.hang()


async def send_huge(connection: Connection) -> None:
    """A body without an end."""
    await connection.send(b"HTTP/1.1 200 X\r\n\r\n")
    while True:
        await connection.send(bytes(65536))


async def dribble(connection: Connection) -> None:
    """A body of which a byte comes now and then."""
    await connection.send(b"HTTP/1.1 200 X\r\nContent-Length: 1000\r\n\r\n")
    while True:
        await connection.send(b".")
        await asyncio.sleep(0.05)


async def send_endless_head(connection: Connection) -> None:
    await connection.send(b"HTTP/1.1 200 X\r\n")
    while True:
        await connection.send(b"X-Filler: " + b"x" * 8000 + b"\r\n")


async def send_interim_for_ever(connection: Connection) -> None:
    while True:
        await connection.send(b"HTTP/1.1 103 Early Hints\r\n" + b"a: b\r\n" * 200 + b"\r\n")


async def send_many_fields(connection: Connection) -> None:
    await connection.send(b"HTTP/1.1 200 X\r\n" + b"a:b\r\n" * 18_000 + b"\r\n")


async def send_tiny_chunks(connection: Connection) -> None:
    await connection.send(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await connection.send(b"1\r\nx\r\n" * 10_000)


async def test_the_receiver_gets_the_event_under_the_name_of_its_host() -> None:
    async with serving() as receiver:
        await send(f"http://hooks.example.com:{receiver.port}/a/b?c=d%20e")
    (message,) = receiver.requests
    assert receiver.lines == ["POST /a/b?c=d%20e"]
    assert message.body == BODY
    expected = {
        "host": f"hooks.example.com:{receiver.port}",
        "content-type": "application/json",
        "webhook-id": "evt_1",
        "user-agent": "a-part/1.0",
        "connection": "close",
        "authorization": None,
        "cookie": None,
    }
    assert {name: message.header(name) for name in expected} == expected


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_each_2xx_is_a_success(status: int) -> None:
    async with serving(respond(status)) as receiver:
        await send(receiver.url)
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("status", [300, 304, 400, 401, 404, 429, 500, 503, 599])
async def test_any_other_status_is_a_failure_that_may_pass(status: int) -> None:
    async with serving(respond(status)) as receiver:
        assert str(await fail(receiver.url)).startswith(f"{status}")


async def test_a_redirect_is_not_followed() -> None:
    async with serving() as inside:
        for status in (301, 302, 303, 307, 308):
            async with serving(respond(status, Location=inside.url)) as receiver:
                assert str(await fail(receiver.url)) == f"{status}: redirects are not followed"
    assert inside.requests == []


async def test_410_says_that_no_more_is_wanted() -> None:
    async with serving(respond(410)) as receiver:
        with pytest.raises(GoneError, match="410 Gone"):
            await send(receiver.url)


@pytest.mark.parametrize("behaviour", [send_huge, dribble, send_tiny_chunks])
async def test_a_success_does_not_wait_for_the_end_of_a_body(behaviour: Behaviour) -> None:
    """Neither of these bodies ends: the attempt must, long before its time is over."""
    async with serving(behaviour) as receiver:
        await send(receiver.url, seconds=600)


@pytest.mark.parametrize(
    "behaviour",
    [
        reset,
        send_endless_head,
        send_interim_for_ever,
        send_many_fields,
        respond_raw(b"SSH-2.0-secret\r\n\r\n"),
        respond_raw(b"", close=True),
    ],
)
async def test_a_broken_response_is_a_failure_and_is_not_quoted(behaviour: Behaviour) -> None:
    async with serving(behaviour) as receiver:
        error = await fail(receiver.url, seconds=600)
    assert "RemoteProtocol" in str(error) or "ReadError" in str(error)
    assert "secret" not in f"{error} {error.reason}"


async def test_a_receiver_that_hangs_is_given_up() -> None:
    async with serving(hang) as receiver:
        assert str(await fail(receiver.url, seconds=0.2)) == "no response within 0.2 seconds"


async def test_a_closed_port_is_a_failure_and_the_next_address_is_tried() -> None:
    error = await fail(f"http://hooks.example.com:{free_port()}/")
    assert "Connect" in str(error)
    assert error.reason == "the request failed: ConnectError"
    async with serving() as receiver:
        # Nothing listens at the first of these.
        await send(receiver.url, FixedResolver(["127.0.0.9", "127.0.0.1"]))
    assert len(receiver.requests) == 1


async def test_a_second_address_is_not_tried_after_a_response() -> None:
    async with serving(reset) as receiver:
        await fail(receiver.url, FixedResolver(["127.0.0.1", "127.0.0.1", "127.0.0.2"]))
    assert len(receiver.requests) == 1


async def test_a_name_that_is_pointed_inside_later_is_refused_then() -> None:
    """DNS rebinding: the address is public at creation, and inside at a delivery."""
    async with serving() as receiver:
        destinations = make_destinations(Rebinding(["93.184.215.14"], ["127.0.0.1"]))
        url = f"http://rebinding.example.com:{receiver.port}/"
        assert await destinations.find(url, seconds=5)
        with pytest.raises(RefusedDestinationError, match="an address that is not public"):
            await WebhookSender(destinations, seconds=5).send(url, BODY, FIELDS)
    assert receiver.connections == 0


async def test_the_connection_goes_to_the_address_that_was_checked() -> None:
    """DNS rebinding within one delivery: a second look-up would fail here, and there is none."""
    name_server = Rebinding(["127.0.0.1"])
    async with serving() as receiver:
        # No name server of the system knows this name either.
        await send(f"http://checked.invalid:{receiver.port}/", name_server)
    assert name_server.found == []
    assert len(receiver.requests) == 1


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as proxy, serving() as receiver:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        await send(receiver.url)
    assert (len(proxy.requests), len(receiver.requests)) == (0, 1)


async def test_no_log_has_the_url(caplog: pytest.LogCaptureFixture) -> None:
    log_everything(caplog)
    async with serving(respond(307, Location="/secret")) as receiver:
        await fail(f"{receiver.url}/secret?key=secret")
    assert "secret" not in caplog.text


@asynccontextmanager
async def trusted(folder: Path, monkeypatch: pytest.MonkeyPatch, *behaviours: Behaviour) -> AsyncIterator[FaultyServer]:
    """A receiver with TLS whose certificate is for 127.0.0.1, and trusted."""
    made = certificate(folder)
    context = ssl.create_default_context(cafile=str(made.file))
    monkeypatch.setattr(Poster, "_build_context", lambda _self: context)
    async with serving(*behaviours, tls=made.context) as receiver:
        yield receiver


@asynccontextmanager
async def hanging(port: int, *hosts: str, hang: Callable[[], None]) -> AsyncIterator[None]:
    """Servers whose side of a TLS handshake never comes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hang()
        with suppress(ConnectionError):
            while await reader.read(1024):
                pass
        writer.close()

    async with AsyncExitStack() as servers:
        for host in hosts:
            await servers.enter_async_context(await asyncio.start_server(answer, host, port))
        yield


async def test_addresses_that_do_not_respond_leave_time_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of the loop is moved on, so that no time passes. A connection is bounded with its TLS handshake."""
    loop, passed = asyncio.get_running_loop(), []
    clock = loop.time
    monkeypatch.setattr(loop, "time", lambda: clock() + sum(passed), raising=False)
    dead = ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
    async with trusted(tmp_path, monkeypatch) as receiver:
        url = f"https://127.0.0.1:{receiver.port}/"
        async with hanging(receiver.port, *dead, hang=lambda: passed.append(101)):
            await send(url, FixedResolver([*dead, "127.0.0.1"]), seconds=400)
            assert (len(passed), len(receiver.requests)) == (3, 1)
        async with hanging(receiver.port, dead[0], hang=lambda: passed.append(101)):
            assert str(await fail(url, FixedResolver(dead[:1]), seconds=100)) == "no connection in time"


async def test_a_connection_ends_with_its_cancelled_tls_handshake() -> None:
    has_begun, has_ended = asyncio.Event(), asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1024):
            has_begun.set()
        has_ended.set()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        # Held, so that it is not closed because it is deleted.
        stream = await BoundedNetwork().connect_tcp("127.0.0.1", server.sockets[0].getsockname()[1])
        handshake = asyncio.create_task(stream.start_tls(ssl.create_default_context(), "hooks.example.com"))
        await has_begun.wait()
        handshake.cancel()
        with pytest.raises(asyncio.CancelledError):
            await handshake
        await asyncio.wait_for(has_ended.wait(), 30)
        await stream.aclose()


def test_addresses_of_both_families_are_tried_in_turn() -> None:
    addresses = [ip_address(f"2606:4700::{n}") for n in range(4)] + [ip_address("1.1.1.1"), ip_address("1.1.1.2")]
    assert _choose(addresses) == [addresses[0], addresses[4], addresses[1], addresses[5]]
    assert _choose(addresses[4:]) == addresses[4:]


async def break_tls(connection: Connection) -> None:
    """After the status, what is no record of TLS."""
    await connection.send(b"HTTP/1.1 200 X\r\nContent-Length: 100\r\n\r\nx")
    sock = socket.socket(fileno=os.dup(connection.writer.get_extra_info("socket").fileno()))
    with sock:
        sock.send(b"\x17\x03\x03\x00\x20" + b"Z" * 32)
    await connection.hang()


async def test_an_event_that_was_accepted_has_arrived_though_its_connection_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with trusted(tmp_path, monkeypatch, break_tls) as receiver:
        await send(f"https://127.0.0.1:{receiver.port}/")
    assert len(receiver.requests) == 1


async def test_the_certificate_is_checked_for_the_host_of_the_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with trusted(tmp_path, monkeypatch) as receiver:
        await send(f"https://127.0.0.1:{receiver.port}/")
        # It goes to the same address, for which the certificate is, but under another name.
        error = await fail(f"https://hooks.example.com:{receiver.port}/")
    assert "certificate" in str(error).lower()
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("host", ["xn--strae-oqa.de", "xn--ls8h.la"])
async def test_the_certificate_is_asked_for_the_internationalised_name_itself(tmp_path: Path, host: str) -> None:
    names: list[str | None] = []
    tls = certificate(tmp_path).context
    tls.sni_callback = lambda _socket, name, _context: names.append(name)
    async with serving(tls=tls) as receiver:
        await fail(f"https://{host}:{receiver.port}/")
    assert names == [host]


async def test_a_certificate_of_an_unknown_authority_is_refused(tmp_path: Path) -> None:
    async with serving(tls=certificate(tmp_path).context) as receiver:
        assert "certificate" in str(await fail(f"https://127.0.0.1:{receiver.port}/")).lower()
    assert receiver.requests == []


async def test_a_host_that_cannot_be_resolved_is_a_failure() -> None:
    async def find_none(_host: str) -> list[str]:
        raise OSError("no such host")

    async def never(_host: str) -> list[str]:
        await asyncio.Event().wait()
        raise AssertionError

    assert "cannot be resolved" in str(await fail(URL, find_none))
    late = await fail(URL, never, seconds=0.05)
    assert str(late) == "the host hooks.example.com could not be resolved in time"
