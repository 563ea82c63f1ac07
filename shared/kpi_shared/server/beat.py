"""The beat of a server: it ends requests whose time is over, and notices when the process stood still.

One timer serves all requests, since a timer for each would cost more than the rest of this file.

A process may be stopped as a whole (SIGSTOP, a paused machine, a blocked event loop). What it reads when it goes on has
waited in the system meanwhile, and its clients may have repeated it elsewhere. So after a beat that came late, each
request is examined before it begins: the system knows when its last bytes arrived and whether the client has left.
"""

import asyncio
import socket
import struct
from collections.abc import Iterable
from math import inf
from time import monotonic
from typing import Any, Protocol
from weakref import ref

BEAT_SECONDS = 0.05
# A beat that is later than this means that the process stood still.
STALL_SECONDS = 0.5
# How long requests are examined after a stall, and after the first connection: until all that waited has been read.
CAUTIOUS_SECONDS = 2.0

_ESTABLISHED, _CLOSE_WAIT = 1, 8
# struct tcp_info of Linux: the state is its first byte, the milliseconds since the last data are at this offset.
_INFO_BYTES, _LAST_DATA = 56, 52


class Expiring(Protocol):
    """A connection, as the beat sees it."""

    def expire(self, now: float) -> None:
        """End the request in progress if its deadline has passed."""


class Beat:
    """``trusted_until``: a request that begins later than this is to be examined first."""

    __slots__ = ("__weakref__", "_cautious_until", "_connections", "_due", "trusted_until")

    def __init__(self, connections: Iterable[Expiring]) -> None:
        self._connections = connections
        now = monotonic()
        self._cautious_until = now + CAUTIOUS_SECONDS
        # The next beat comes before this, unless the process stands still.
        self._due = now + STALL_SECONDS
        self.trusted_until = -inf
        self.schedule()

    def schedule(self) -> None:
        # It must not keep a server alive that has ended.
        asyncio.get_running_loop().call_later(BEAT_SECONDS, _beat, ref(self))

    def beat(self) -> None:
        now = monotonic()
        if now > self._due:
            self._cautious_until = now + CAUTIOUS_SECONDS
        self._due = now + STALL_SECONDS
        self.trusted_until = self._due if now > self._cautious_until else -inf
        # A list: a connection may end by it.
        for connection in list(self._connections):
            connection.expire(now)


def _beat(of: "ref[Beat]") -> None:
    beat = of()
    if beat is not None:
        beat.schedule()
        beat.beat()


def seconds_waited(connection: Any) -> float:  # noqa: ANN401 a socket, or what uvloop has in its place
    """How long ago the last bytes arrived; infinite if the client has left."""
    if not hasattr(socket, "TCP_INFO"):
        return 0.0
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
    except OSError:
        # Not TCP, or closed; a closed connection is also reported as lost.
        return 0.0
    seconds: float = struct.unpack_from("I", info, _LAST_DATA)[0] / 1000
    # A client may close its sending side and wait for the response (docs/adr/0018), but not for this long.
    has_left = info[0] != _ESTABLISHED and (info[0] != _CLOSE_WAIT or seconds > STALL_SECONDS)
    return inf if has_left else seconds
