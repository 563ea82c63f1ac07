"""Servers are killed or stand still while events are sent: what was acknowledged arrives, and waits are bounded."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import psycopg
import pytest
from events_support import Case, Ear, UserCreated, Watch, acknowledge, until, until_received
from kpi_kit.errors import DriverUnavailableError
from kpi_kit.events import EventBus, EventFake, EventsUnavailableError
from kpi_kit.events.drivers.postgresql import TABLES
from kpi_shared.testing.nats_server import Broker, run_broker
from kpi_shared.testing.postgres import TestServer
from kpi_shared.testing.process import wait_until

_BOUND = 20.0


class PostgresProcess:
    """A server of PostgreSQL that a test kills; its commits are in its files, unlike those of other tests' server."""

    def __init__(self) -> None:
        self._server = TestServer()
        self.url = self._server.url
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET synchronous_commit = on")
            connection.execute("SELECT pg_reload_conf()")
            connection.execute(TABLES)

    @property
    def pid(self) -> int:
        return int((self._server._folder / "data" / "postmaster.pid").read_text().splitlines()[0])

    def kill(self) -> None:
        # At once, as after a crash: what it had not written is lost. Its processes end with it.
        os.kill(self.pid, signal.SIGQUIT)
        wait_until(lambda: not (self._server._folder / "data" / "postmaster.pid").exists())

    def start(self) -> None:
        self._server._server.ensure_postgres_running()

    @contextmanager
    def suspended(self) -> Iterator[None]:
        pids = [self.pid, *self._find_backends()]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def _find_backends(self) -> list[int]:
        with psycopg.connect(self.url) as connection:
            rows = connection.execute("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
            return [row[0] for row in rows if row[0] != connection.info.backend_pid]

    def stop(self) -> None:
        self._server.stop()


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresProcess]:
    found = PostgresProcess()
    yield found
    found.stop()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with run_broker(tmp_path) as found:
        yield found


@pytest.fixture(params=["postgresql", "nats"])
def fragile(request: pytest.FixtureRequest) -> tuple[Case, "PostgresProcess | Broker"]:
    name: str = request.param
    found = request.getfixturevalue("server" if name == "postgresql" else "broker")
    url = f"{found.url}&timeout=0.5" if "?" in found.url else f"{found.url}?timeout=0.5"
    return Case(name, url), found


@pytest.fixture
async def pair(fragile: tuple[Case, object]) -> AsyncIterator[tuple[EventBus, EventBus, Ear]]:
    """A bus that sends, one that listens, and its ear."""
    case, _ = fragile
    ear = Ear()
    async with case.build() as sender, case.build() as bus:
        bus.listen(UserCreated, ear)
        bus.listen("*", ear)
        await until_received(bus, ear)
        yield sender, bus, ear


async def test_a_restart_loses_no_acknowledged_event(
    fragile: tuple[Case, "PostgresProcess | Broker"], pair: tuple[EventBus, EventBus, Ear]
) -> None:
    _, server = fragile
    sender, _, ear = pair
    attempts = 0

    async def send_all() -> None:
        nonlocal attempts
        for number in range(150):
            event = UserCreated(name=str(number))
            attempts += await acknowledge(lambda event=event: sender.dispatch(event))  # type: ignore[misc]

    sending = asyncio.create_task(send_all())
    for so_far in (30, 80):
        await until(lambda so_far=so_far: len(ear.heard) > so_far)  # type: ignore[misc]
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
    await sending
    assert attempts > 150, "the server was killed under way"
    wanted = {str(number) for number in range(150)}
    await until(lambda: {each.name for each in ear.heard if isinstance(each, UserCreated)} == wanted)


async def test_a_server_that_stands_still_is_unavailable_and_recovers(
    fragile: tuple[Case, "PostgresProcess | Broker"],
    pair: tuple[EventBus, EventBus, Ear],
    caplog: pytest.LogCaptureFixture,
) -> None:
    case, server = fragile
    sender, _, ear = pair
    await sender.dispatch(UserCreated(name="before"))
    with server.suspended() if isinstance(server, PostgresProcess) else server.suspend():
        began = monotonic()
        for _ in range(2):
            with pytest.raises(EventsUnavailableError) as caught:
                await sender.dispatch(UserCreated(name="meanwhile"))
            assert isinstance(caught.value, DriverUnavailableError)
        assert monotonic() - began < _BOUND
        # A bus that is closed now does not wait for the server.
        async with case.build() as other:
            other.listen("*", ear)
    await acknowledge(lambda: sender.dispatch(UserCreated(name="after")))
    await until(lambda: UserCreated(name="after") in ear.heard)
    assert "meanwhile" not in caplog.text


async def test_a_bus_may_open_before_its_server(broker: Broker) -> None:
    broker.kill()
    broker.options = 'authorization {user: "us:er", password: "p@ss/w:rd"}'
    ear = Ear()
    url = broker.url.replace("://", "://us%3Aer:p%40ss%2Fw%3Ard@")
    async with Case("nats", f"{url}?timeout=0.5").build() as bus:
        bus.listen("*", ear)
        with pytest.raises(EventsUnavailableError):
            await bus.dispatch(UserCreated(name="Anna"))
        broker.start()
        await until_received(bus, ear)


async def test_what_is_committed_while_nats_is_away_arrives_in_its_order(broker: Broker, database: str) -> None:
    ear, watch = Ear(), Watch()
    sent = [UserCreated(name=str(number)) for number in range(5)]
    async with Case("nats", f"{broker.url}?timeout=0.5").build(observer=watch) as bus:
        bus.listen(UserCreated, ear)
        await bus.dispatch(UserCreated(name="before"))
        broker.kill()
        async with await psycopg.AsyncConnection.connect(database) as connection:
            for event in sent:
                await bus.dispatch_after_commit(event, connection=connection)
        await until(lambda: ("events", "dispatch", "nats", "EventsUnavailableError") in watch.seen)
        broker.start()
        await until(lambda: sent[-1] in ear.heard)
        # An attempt that was not acknowledged may have been stored.
        assert list(dict.fromkeys(ear.heard)) == [UserCreated(name="before"), *sent]
        assert not bus.failures


async def test_tls_sends_no_credentials_to_a_server_without_it() -> None:
    sent = bytearray()

    async def pretend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id": "a", "max_payload": 1000}\r\n')
        while data := await reader.read(1000):
            sent.extend(data)
        writer.close()

    server = await asyncio.start_server(pretend, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"tls://u:s3cret@127.0.0.1:{port}?timeout=0.5"
    async with server, EventBus.from_url(url, events=[UserCreated]) as bus:
        with pytest.raises(EventsUnavailableError, match="TlsNotOfferedError"):
            await bus.dispatch(UserCreated(name="Anna"))
    assert b"s3cret" not in sent
    assert b"CONNECT" not in sent


async def test_no_password_is_in_an_error_or_a_log(caplog: pytest.LogCaptureFixture) -> None:
    for url in ("postgresql://u:s3cret@127.0.0.1:9/n?timeout=0.5", "nats://u:s3cret@127.0.0.1:9?timeout=0.5"):
        async with EventBus.from_url(url, events=[UserCreated]) as bus:
            bus.listen("*", Ear())
            with pytest.raises(EventsUnavailableError) as caught:
                await bus.dispatch(UserCreated(name="Anna"))
            await until(lambda: "cannot be received" in caplog.text)
            for text in (str(caught.value), repr(caught.value), repr(bus), caplog.text):
                assert "s3cret" not in text


async def test_the_fake_is_down_when_the_test_says_so() -> None:
    async with EventFake(events=[UserCreated]) as bus:
        bus.is_down = True
        with pytest.raises(EventsUnavailableError):
            await bus.dispatch(UserCreated(name="Anna"))
        bus.is_down = False
        await bus.dispatch(UserCreated(name="Anna"))
