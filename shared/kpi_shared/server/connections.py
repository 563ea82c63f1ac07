"""The connections of one server: how many there may be, and how slow each may be.

Looked at on 2026-11-27: uvicorn 0.54 (its idle timeout starts after a response, so it never closes a client that sends
or reads slowly, and `limit_concurrency` answers 503 to every client, not to the one with too many connections), h11
0.16 and httptools 0.9 (parsers with no notion of time or of other connections). See docs/adr/0018.

One timer a second checks all connections, so that a request needs no timer of its own. Progress is measured over the
last eight seconds: a client below the minimum rate is disconnected in the ninth.
"""

import asyncio
import fcntl
import resource
import socket
import struct
import termios
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol
from weakref import WeakKeyDictionary

import structlog
from uvicorn.server import ServerState

from kpi_shared.addresses import Network, client_address, client_network, client_site
from kpi_shared.server.beat import Beat

log = structlog.get_logger(__name__)

# Times are in ticks of a second.
SECONDS_PER_TICK = 1.0
# How long a head may take from its first byte, and a new connection until its first byte.
HEAD_TICKS = 7
# In each window of this length, this many bytes of a request body must arrive, or of a response be read: 500 a second,
# as in Apache's mod_reqtimeout.
PACE_TICKS = 8
LEAST_BYTES = 4_000
KEEP_ALIVE_TICKS = 65
# Above this number of connections, idle ones are closed sooner.
MANY_CONNECTIONS = 1_000
CROWDED_KEEP_ALIVE_TICKS = 5
# The rest of a refused request is read and discarded: closing at once would reset the connection and lose the response.
DRAIN_TICKS = 5
# A client that has closed its sending side gets data without meaning after this time if it has no response by then.
PROBE_TICKS = 2
# Old clients send one or two after a body. Each costs a copy of the data that was read with it.
MAX_EMPTY_LINES = 8
# Connections over the limit that are kept until their first bytes arrive, so that their refusal can depend on these.
MAX_KEPT_FOR_REFUSAL = 64
# Twice what the transport holds before its writer has to wait (64 KiB), so that the system always has more to send.
UNSENT_BYTES = 128 * 1024
# File descriptors that a process needs in addition to its client connections.
_SPARE_FILES = 512


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """``per_address`` is the limit of one client (IPv6: of one /64); trusted proxies have no limit.

    ``per_site`` is the limit of one /48 of IPv6.
    """

    per_address: int | None = None
    trusted: tuple[Network, ...] = ()
    per_site: int | None = None


class Watched(Protocol):
    """A connection that ``Watch`` checks."""

    def tick(self, now: int) -> None: ...

    def expire(self, now: float) -> None: ...


class Pace:
    """How many bytes were transferred in the last PACE_TICKS."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: deque[tuple[int, int]] = deque(maxlen=PACE_TICKS + 1)

    def is_too_slow(self, total: int, due: int) -> bool:
        """Call it once a tick, with the bytes transferred so far and the bytes that are still to be transferred."""
        seen = self._seen
        seen.append((total, due))
        before, due_then = seen[0]
        # A client with less than LEAST_BYTES due then has to take only that: it is not slow if little is sent to it.
        return len(seen) > PACE_TICKS and total - before < min(LEAST_BYTES, due_then)


class Watch:
    """Counts the connections of one server and calls ``tick`` on each of them once a second."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.now = 0
        # Whether the server accepts no more connections. Those that it had already accepted may still be made.
        self.is_stopping = False
        self._limits = limits
        self._connections: set[Watched] = set()
        self._most = max(64, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE_FILES)
        self._by_address: Counter[Network] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._refused = 0
        self._kept: set[Watched] = set()
        self._rendered: tuple[list[tuple[bytes, bytes]], bytes] = ([], b"")
        self._beat: Beat | None = None

    def start_beat(self) -> Beat:
        """The beat of these connections, created on first use."""
        if self._beat is None:
            self._beat = Beat(self._connections)
        return self._beat

    def admit(self, connection: Watched, address: str) -> bool:
        """Add the connection and return whether it is within the limits. Every call needs a later ``forget``."""
        if not self._connections:
            self._start_timer()
        self._connections.add(connection)
        crowded = False
        limits = self._limits
        for key, most in zip(
            _address_keys(address, limits.trusted), (limits.per_address, limits.per_site), strict=False
        ):
            self._by_address[key] += 1
            crowded = crowded or (most is not None and self._by_address[key] > most)
        admitted = len(self._connections) <= self._most and not crowded
        self._refused += not admitted
        return admitted

    def keep_for_refusal(self, connection: Watched) -> bool:
        """Return whether a connection that was not admitted may stay until its first bytes arrive."""
        if len(self._kept) >= MAX_KEPT_FOR_REFUSAL or len(self._connections) > self._most:
            return False
        self._kept.add(connection)
        return True

    def forget(self, connection: Watched, address: str) -> None:
        self._connections.discard(connection)
        self._kept.discard(connection)
        for key in _address_keys(address, self._limits.trusted):
            self._by_address[key] -= 1
            if self._by_address[key] <= 0:
                del self._by_address[key]
        if not self._connections and self._timer is not None:
            self._timer.cancel()

    @property
    def keep_alive_ticks(self) -> int:
        # A service has only the gateway's connections, and the gateway relies on the longer time.
        crowded = self._limits.per_address is not None and len(self._connections) > MANY_CONNECTIONS
        return CROWDED_KEEP_ALIVE_TICKS if crowded else KEEP_ALIVE_TICKS

    def default_headers(self, headers: list[tuple[bytes, bytes]], own: list[bytes]) -> bytes:
        """The headers of every response, rendered once a second, without those named in ``own``."""
        if self._rendered[0] is not headers:
            self._rendered = (headers, b"".join(b"%b: %b\r\n" % pair for pair in headers))
        if not own:
            return self._rendered[1]
        return b"".join(b"%b: %b\r\n" % pair for pair in headers if pair[0].lower() + b": " not in own)

    def _start_timer(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SECONDS_PER_TICK, self._tick)

    def _tick(self) -> None:
        self.now += 1
        self._start_timer()
        if self._refused:
            # One line a second: a line for each connection would let a client flood the log.
            log.warning("connections refused", count=self._refused, open=len(self._connections))
            self._refused = 0
        for connection in list(self._connections):
            connection.tick(self.now)


_watches: WeakKeyDictionary[ServerState, Watch] = WeakKeyDictionary()


def watch_of(state: ServerState, limits: ConnectionLimits | None = None) -> Watch:
    """The watch of a server, created on first use."""
    watch = _watches.get(state)
    if watch is None:
        watch = _watches[state] = Watch(limits or ConnectionLimits())
    return watch


@lru_cache(maxsize=4096)
def _address_keys(address: str, trusted: tuple[Network, ...]) -> tuple[Network, ...]:
    """The networks whose connections are counted together: an address or /64, and a /48 for IPv6.

    Empty for trusted proxies and Unix sockets.
    """
    client = client_address(address, (), ())
    if client is None or any(client in network for network in trusted):
        return ()
    site = client_site(client)
    return (client_network(client),) if site is None else (client_network(client), site)


def count_unacknowledged(file: int) -> int:
    """The number of bytes in the send buffer that the client has not acknowledged (SIOCOUTQ)."""
    try:
        return int(struct.unpack("i", fcntl.ioctl(file, termios.TIOCOUTQ, b"\0\0\0\0"))[0])
    except OSError:
        # The socket is not TCP, or is closed.
        return 0


class Outflow:
    """What was written to a client, and how fast the client reads it."""

    __slots__ = ("_acknowledged", "_pace", "written")

    def __init__(self) -> None:
        self.written = 0
        self._acknowledged = 0
        self._pace: Pace | None = None

    @property
    def is_acknowledged(self) -> bool:
        """Whether the client had read everything when this was last determined."""
        return self.written == self._acknowledged

    def count_overdue(self, transport: asyncio.Transport, file: int) -> int:
        """Call it once a tick: the number of bytes that wait for a client that reads too slowly, or 0."""
        if self.is_acknowledged:
            return 0
        waiting = transport.get_write_buffer_size() + count_unacknowledged(file)
        if not waiting:
            self._acknowledged = self.written
            self._pace = None
            return 0
        self._pace = self._pace or Pace()
        return waiting if self._pace.is_too_slow(self.written - waiting, waiting) else 0


def reset(transport: asyncio.Transport) -> None:
    """Close at once and discard the send buffer, which the system would otherwise keep offering to the client."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def limit_unsent(transport: asyncio.Transport) -> None:
    """Keep at most UNSENT_BYTES in the send buffer beyond what is on its way, so that a client that does not read costs
    no more: the system's own limit is some megabytes for each connection.
    """
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        # Not TCP: a Unix socket has a fixed limit.
        with suppress(OSError):
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)


def raise_file_limit() -> None:
    """Raise the soft limit of open files to the hard one: each connection is a file, the usual limit is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        log.warning("file limit not raised", soft=soft, hard=hard, reason=str(error))
