"""A proxy in front of a database that can go silent: connections stay open, and nothing comes through."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

from kpi_shared.testing.process import wait_until

_PATIENCE_SECONDS = 10


class SilentProxy:
    """Forwards TCP connections to a PostgreSQL server, from a thread of its own. Create one with ``running_proxy``.

    The system acknowledges what the proxy does not read, so that to a client its silence is that of a server which does
    not respond. Lost packets, which the client's system notices, take a firewall.
    """

    def __init__(self, server: str) -> None:
        """``server`` is an address of libpq, by TCP or by a Unix socket."""
        self._parameters = {name: str(value) for name, value in conninfo_to_dict(server).items()}
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        self._connections: set[_Connection] = set()
        self._is_silent = False
        self.port = 0
        # The connections that were accepted so far.
        self.accepted = 0

    @property
    def url(self) -> str:
        """The address of the database behind the proxy."""
        return self.url_with(f"127.0.0.1:{self.port}")

    def url_with(self, hosts: str) -> str:
        """The address of the same database with other hosts."""
        own = {"host", "hostaddr", "port", "dbname"}
        more = "&".join(f"{name}={quote(value, '')}" for name, value in self._parameters.items() if name not in own)
        return f"postgresql://{hosts}/{self._parameters['dbname']}?{more}"

    def silence_established(self) -> None:
        """Let nothing more through the connections that are open now, for ever; new ones work."""

        def silence() -> None:
            for connection in self._connections:
                connection.is_silent_for_ever = True
                connection.set_silent(is_silent=True)

        self._call(silence)

    def silence(self) -> None:
        """Let nothing through any connection, new ones included, until ``resume``."""
        self._call(lambda: self._set_silent(is_silent=True))

    def resume(self) -> None:
        self._call(lambda: self._set_silent(is_silent=False))

    def wait_for_ends(self) -> None:
        """Return when the clients of all connections know that the server has ended them."""
        wait_until(lambda: all(connection.has_ended for connection in tuple(self._connections)))

    def stop(self) -> None:
        # The loop may be closed as soon as this has run, so nothing else is asked of it.
        self._loop.call_soon_threadsafe(self._stopped.set)

    def _set_silent(self, *, is_silent: bool) -> None:
        self._is_silent = is_silent
        for connection in self._connections:
            connection.set_silent(is_silent=is_silent)

    def _call(self, function: Callable[[], None]) -> None:
        """Run the function in the thread of the proxy, and return when it has."""
        done = threading.Event()
        self._loop.call_soon_threadsafe(function)
        self._loop.call_soon_threadsafe(done.set)
        assert done.wait(_PATIENCE_SECONDS)

    def run(self, listening: threading.Event) -> None:
        self._loop.run_until_complete(self._serve(listening))
        self._loop.close()

    async def _serve(self, listening: threading.Event) -> None:
        server = await self._loop.create_server(lambda: _Side(self._accept), "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        listening.set()
        await self._stopped.wait()
        server.close()
        for connection in self._connections:
            connection.abort()
        # The transports close in the next rounds of the loop.
        await asyncio.sleep(0.01)

    def _accept(self, client: "_Side") -> None:
        self.accepted += 1
        connection = _Connection(client, self._connect)
        self._connections.add(connection)
        connection.set_silent(is_silent=self._is_silent)

    async def _connect(self, side: "_Side") -> None:
        host, port = self._parameters["host"], self._parameters.get("port", "5432")
        if host.startswith("/"):
            await self._loop.create_unix_connection(lambda: side, f"{host}/.s.PGSQL.{port}")
        else:
            await self._loop.create_connection(lambda: side, host, int(port))


class _Side(asyncio.Protocol):
    """One of the two sockets of a connection."""

    transport: asyncio.Transport
    other: "_Side | None" = None

    def __init__(self, on_made: "Callable[[_Side], None]") -> None:
        self._on_made = on_made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._on_made(self)

    def data_received(self, data: bytes) -> None:
        assert self.other is not None
        self.other.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 the protocol's
        if self.other is not None:
            self.other.transport.close()


class _Connection:
    """The client's socket and, once data may pass, the server's. Neither is read while the connection is silent."""

    is_silent_for_ever = False

    def __init__(self, client: _Side, connect: Callable[[_Side], Awaitable[None]]) -> None:
        self._sides = [client]
        self._connect = connect
        self._connecting: asyncio.Task[None] | None = None
        self._is_silent = False
        client.transport.pause_reading()

    def set_silent(self, *, is_silent: bool) -> None:
        self._is_silent = is_silent or self.is_silent_for_ever
        if len(self._sides) > 1:
            self._apply()
        elif not self._is_silent and self._connecting is None:
            self._connecting = asyncio.ensure_future(self._open())

    async def _open(self) -> None:
        try:
            await self._connect(_Side(self._join))
        except OSError:
            self._sides[0].transport.close()

    def _join(self, server: _Side) -> None:
        client = self._sides[0]
        client.other, server.other = server, client
        self._sides.append(server)
        self._apply()

    def _apply(self) -> None:
        for side in self._sides:
            if side.transport.is_closing():
                continue
            if self._is_silent:
                side.transport.pause_reading()
            else:
                side.transport.resume_reading()

    @property
    def has_ended(self) -> bool:
        return self._sides[0].transport.is_closing()

    def abort(self) -> None:
        for side in self._sides:
            side.transport.abort()


@contextmanager
def running_proxy(server: str) -> Iterator[SilentProxy]:
    """A proxy for this server that listens during the block."""
    proxy = SilentProxy(server)
    listening = threading.Event()
    thread = threading.Thread(target=proxy.run, args=(listening,), daemon=True)
    thread.start()
    assert listening.wait(_PATIENCE_SECONDS)
    try:
        yield proxy
    finally:
        proxy.stop()
        thread.join(_PATIENCE_SECONDS)
