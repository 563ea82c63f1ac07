"""The addresses of one upstream: which of them takes the next request, and which are out of rotation.

httpx 0.28 and aiohttp 3.14 were looked at: both pool connections per address; neither knows several addresses of one
service or leaves out one that fails (2026-11-27).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

import structlog

from kpi_gateway.upstream.connection import Connection
from kpi_gateway.upstream.contract import AddressOutError
from kpi_gateway.upstream.places import Places
from kpi_gateway.upstream.retries import RetryBudget

log = structlog.get_logger(__name__)

# An open stream as a share of a request in flight. It decides between addresses that are equally busy, so that streams
# spread again after an address was restarted.
_STREAM_LOAD = 1e-6
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
        self.streams = 0
        self.is_out = False
        # In a row: requests without a response, and responses with a server error.
        self.failures = 0
        # Since the start.
        self.errors = 0
        self.responses = 0
        self.server_errors = 0
        self.removals = 0

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

    An address that is out gets no requests. While all of them are out, all are tried: a request that may fail is better
    than one that must. ``on_suspicion`` is called with an address that failed ``max_failures`` times in a row.
    """

    def __init__(
        self,
        name: str,
        urls: Sequence[str],
        *,
        places: Places,
        max_failures: int,
        on_suspicion: Callable[["Address"], None],
    ) -> None:
        self.name = name
        self.addresses = [Address(url) for url in urls]
        self.places = places
        self.refused_logged = 0
        # Requests that were sent, repeated ones included.
        self.sent = 0
        self.retries = RetryBudget()
        # Repeated requests by reason.
        self.repeated: Counter[str] = Counter()
        self._max_failures = max_failures
        self._on_suspicion = on_suspicion
        self._turn = 0

    def pick(self, tried: Sequence[Address] = ()) -> Address:
        """The address with the fewest requests in flight among those not ``tried`` yet, or all if none is left."""
        if len(self.addresses) == 1:
            return self.addresses[0]
        left = [address for address in self.addresses if address not in tried] if tried else self.addresses
        left = left or self.addresses
        candidates = [address for address in left if not address.is_out] or left
        # Starts behind the previous one, so that equal addresses take turns.
        self._turn += 1
        start = self._turn % len(candidates)
        return min(candidates[start:] + candidates[:start], key=_load)

    def enter(self, address: Address) -> None:
        address.in_flight += 1
        self.sent += 1

    def leave(self, address: Address, client: str) -> None:
        """A client's request has ended: release its address and its place."""
        address.in_flight -= 1
        self.places.give_back(client)

    def enter_stream(self, address: Address) -> None:
        address.streams += 1

    def leave_stream(self, address: Address) -> None:
        address.streams -= 1

    def has_other(self, address: Address) -> bool:
        """Whether another address is in rotation."""
        return any(other is not address and not other.is_out for other in self.addresses)

    def note_failure(self, address: Address) -> None:
        """There was no response, or no valid one."""
        address.errors += 1
        address.failures += 1
        self._suspect(address)

    def note_server_error(self, address: Address) -> None:
        """It responded with an error that another address may not have."""
        address.server_errors += 1
        address.failures += 1
        self._suspect(address)

    def _suspect(self, address: Address) -> None:
        # The only address of an upstream is never out: without it every request would certainly fail.
        if address.failures >= self._max_failures and not address.is_out and len(self.addresses) > 1:
            self._on_suspicion(address)

    def take_out(self, address: Address, reason: str) -> None:
        """Safe requests that wait there are repeated at another address."""
        address.is_out = True
        address.removals += 1
        log.warning("upstream address is out", upstream=self.name, address=address.url, reason=reason)
        if self.has_other(address):
            for connection in [each for each in address.open if each.is_repeatable]:
                if not self.retries.take(self.sent):
                    break
                connection.abandon(AddressOutError("Its address went out of rotation"))

    def restore(self, address: Address) -> None:
        address.is_out = False
        address.failures = 0
        log.info("upstream address is back", upstream=self.name, address=address.url)


def _load(address: Address) -> float:
    return address.in_flight + address.streams * _STREAM_LOAD
