"""The addresses of one upstream: which of them takes the next request, and which have failed too often.

httpx 0.28 and aiohttp 3.14 were looked at: both pool connections per address; neither knows several addresses of one
service or leaves out one that fails (2026-11-27).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

import structlog

from kpi_gateway.upstream.connection import Connection
from kpi_gateway.upstream.places import Places

log = structlog.get_logger(__name__)

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Endpoint(NamedTuple):
    """Where a connection goes to; ``authority`` is the value of the Host header field."""

    host: str
    port: int
    tls: bool
    authority: bytes

    @classmethod
    def of(cls, url: str) -> "Endpoint":
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
        return cls(host, port, parts.scheme == "https", parts.netloc.encode())


class Address:
    """One address of an upstream: its connections and its recent failures."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.endpoint = Endpoint.of(url)
        self.idle: list[Connection] = []
        self.open: set[Connection] = set()
        self.in_flight = 0
        self.is_out = False
        # Since the last success, and since the start.
        self.failures = 0
        self.errors = 0

    def take_idle(self) -> Connection | None:
        """The connection that was used last, so that the others become old and are closed."""
        while self.idle:
            connection = self.idle.pop()
            if connection.is_usable:
                return connection
        return None

    def keep(self, connection: Connection) -> None:
        self.idle.append(connection)

    def forget(self, connection: Connection) -> None:
        self.open.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)


class Upstream:
    """One upstream with a limited number of requests in flight, its ``places``, spread over its addresses.

    An address that failed ``max_failures`` times in a row is out: it gets no requests until ``restore`` is called.
    ``on_out`` is called to have it probed. While all addresses are out, all of them are tried.
    """

    def __init__(
        self,
        name: str,
        urls: Sequence[str],
        *,
        places: Places,
        max_failures: int,
        on_out: Callable[["Address"], None],
    ) -> None:
        self.name = name
        self.addresses = [Address(url) for url in urls]
        self.places = places
        self._max_failures = max_failures
        self._on_out = on_out
        self._turn = 0

    def pick(self, tried: Sequence[Address] = ()) -> Address:
        """The address with the fewest requests in flight among those not ``tried`` yet, or all if none is left."""
        if len(self.addresses) == 1:
            return self.addresses[0]
        left = [address for address in self.addresses if address not in tried] or self.addresses
        candidates = [address for address in left if not address.is_out] or left
        # Starts behind the previous one, so that equal addresses take turns.
        self._turn += 1
        start = self._turn % len(candidates)
        return min(candidates[start:] + candidates[:start], key=_load)

    def enter(self, address: Address) -> None:
        address.in_flight += 1

    def leave(self, address: Address, client: str) -> None:
        """A client's request has ended: release its address and its place."""
        address.in_flight -= 1
        self.places.give_back(client)

    def note_failure(self, address: Address) -> None:
        address.errors += 1
        address.failures += 1
        # The only address of an upstream is never out: without it every request would certainly fail.
        if address.failures >= self._max_failures and not address.is_out and len(self.addresses) > 1:
            address.is_out = True
            log.warning("upstream address is out", upstream=self.name, address=address.url, failures=address.failures)
            self._on_out(address)

    def restore(self, address: Address) -> None:
        address.is_out = False
        address.failures = 0
        log.info("upstream address is back", upstream=self.name, address=address.url)


def _load(address: Address) -> int:
    return address.in_flight
