"""All connections of one server: how many there may be, and how slow each of them.

One timer a second looks at all of them, so that a request costs no timer of its own. What a client owes is measured
over the last eight seconds: whoever stays under the least pace is closed in the ninth.
"""

import asyncio
import fcntl
import resource
import socket
import struct
import termios
from collections import Counter, deque
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol
from weakref import WeakKeyDictionary

import structlog
from uvicorn.server import ServerState

from kpi_shared.addresses import Network, client_address, client_network

log = structlog.get_logger(__name__)

# Times are in ticks of a second.
SECONDS_PER_TICK = 1.0
# How long a head may take, from its first byte; and a connection that has said nothing yet.
HEAD_TICKS = 7
# The window in which a body, or the taking of an answer, has to go on, and by how many bytes: 500 a second, as in
# Apache's mod_reqtimeout.
PACE_TICKS = 8
LEAST_BYTES = 4_000
KEEP_ALIVE_TICKS = 65
# With more connections than this, idle ones are kept for a shorter time.
MANY_CONNECTIONS = 1_000
CROWDED_KEEP_ALIVE_TICKS = 5
# A refused request is read, and thrown away, so that its answer is not lost to a reset.
DRAIN_TICKS = 5
# Old clients send one or two after a body; each costs a copy of what was read with it.
MAX_EMPTY_LINES = 8
# Files that a process needs beside the connections of its clients.
_SPARE_FILES = 512


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """``per_address`` connections of one client (IPv6: of one /64) at a time; trusted proxies have no bound."""

    per_address: int | None = None
    trusted: tuple[Network, ...] = ()


class Watched(Protocol):
    """A connection, as the watch sees it."""

    def tick(self, now: int) -> None: ...


class Pace:
    """How far something got in the last PACE_TICKS."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: deque[tuple[int, int]] = deque(maxlen=PACE_TICKS + 1)

    def is_too_slow(self, total: int, due: int) -> bool:
        """Called once a tick with all that has passed so far, and how much more there is to pass."""
        seen = self._seen
        seen.append((total, due))
        before, due_then = seen[0]
        # Little that is always on its way is no slow reader: all that was due has been taken.
        return len(seen) > PACE_TICKS and total - before < min(LEAST_BYTES, due_then)


class Watch:
    """Counts the connections of one server, and ticks for each of them."""

    def __init__(self, limits: ConnectionLimits) -> None:
        self.now = 0
        self._limits = limits
        self._connections: set[Watched] = set()
        self._most = max(64, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE_FILES)
        self._by_address: Counter[Network] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._refused = 0
        self._rendered: tuple[list[tuple[bytes, bytes]], bytes] = ([], b"")

    def admits(self, connection: Watched, address: str) -> bool:
        """Whether there is a place for one more; each call wants its ``forget``."""
        if not self._connections:
            self._begin()
        self._connections.add(connection)
        key = _key(address, self._limits.trusted)
        if key is not None:
            self._by_address[key] += 1
        most = self._limits.per_address
        crowded = most is not None and key is not None and self._by_address[key] > most
        admitted = len(self._connections) <= self._most and not crowded
        self._refused += not admitted
        return admitted

    def forget(self, connection: Watched, address: str) -> None:
        self._connections.discard(connection)
        key = _key(address, self._limits.trusted)
        if key is not None:
            self._by_address[key] -= 1
            if self._by_address[key] <= 0:
                del self._by_address[key]
        if not self._connections and self._timer is not None:
            self._timer.cancel()

    @property
    def keep_alive_ticks(self) -> int:
        # A service's connections are the gateway's, which counts on the longer time.
        crowded = self._limits.per_address is not None and len(self._connections) > MANY_CONNECTIONS
        return CROWDED_KEEP_ALIVE_TICKS if crowded else KEEP_ALIVE_TICKS

    def defaults(self, headers: list[tuple[bytes, bytes]], own: list[bytes]) -> bytes:
        """The headers of every answer, rendered once a second; ``own`` are the names that an answer has already."""
        if self._rendered[0] is not headers:
            self._rendered = (headers, b"".join(b"%b: %b\r\n" % pair for pair in headers))
        if not own:
            return self._rendered[1]
        return b"".join(b"%b: %b\r\n" % pair for pair in headers if pair[0].lower() + b": " not in own)

    def _begin(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SECONDS_PER_TICK, self._tick)

    def _tick(self) -> None:
        self.now += 1
        self._begin()
        if self._refused:
            # Once a second: a line for each would be an attack on the log.
            log.warning("connections refused", count=self._refused, open=len(self._connections))
            self._refused = 0
        for connection in list(self._connections):
            connection.tick(self.now)


_watches: WeakKeyDictionary[ServerState, Watch] = WeakKeyDictionary()


def watch_of(state: ServerState, limits: ConnectionLimits) -> Watch:
    """The one watch of a server."""
    watch = _watches.get(state)
    if watch is None:
        watch = _watches[state] = Watch(limits)
    return watch


@lru_cache(maxsize=4096)
def _key(address: str, trusted: tuple[Network, ...]) -> Network | None:
    """Whose connections count together; None where nobody's do."""
    client = client_address(address, (), ())
    if client is None or any(client in network for network in trusted):
        return None
    return client_network(client)


def unacknowledged(file: int) -> int:
    """How many bytes the system holds that the client's has not taken (SIOCOUTQ)."""
    try:
        return int(struct.unpack("i", fcntl.ioctl(file, termios.TIOCOUTQ, b"\0\0\0\0"))[0])
    except OSError:
        # The connection is no socket of TCP, or is gone.
        return 0


def reset(transport: asyncio.Transport) -> None:
    """Close at once, and have the system forget what it still holds, which the client would keep it offering."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def raise_file_limit() -> None:
    """Each connection is a file, and the usual limit of 1,024 is from other times."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        log.warning("file limit stays", soft=soft, hard=hard, reason=str(error))
