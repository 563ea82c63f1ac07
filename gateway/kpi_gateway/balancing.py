"""The addresses of one upstream: which of them takes the next request, and which have failed too often."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

import structlog

from kpi_gateway.connection import Connection
from kpi_gateway.upstream import UpstreamBusyError

log = structlog.get_logger(__name__)

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Endpoint(NamedTuple):
    """Where a connection goes: ``authority`` is what the Host header says."""

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
    """One address of an upstream: its connections, and how it has done lately."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.endpoint = Endpoint.of(url)
        self.idle: list[Connection] = []
        self.open: set[Connection] = set()
        self.in_flight = 0
        self.is_out = False
        # Since the last success, and since the start.
        self.failures = 0
        self.requests = 0
        self.errors = 0

    def take_idle(self) -> Connection | None:
        """The connection that was used last: the others may then grow old and be closed."""
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
    """One upstream with a bounded number of requests in flight, spread over its addresses.

    Who comes when all places are taken waits in line for ``patience`` seconds. An address that failed
    ``max_failures`` times in a row gets no requests until ``on_out``, which is called then, has had it probed; while
    all of them are out they are all tried.
    """

    def __init__(
        self,
        name: str,
        urls: Sequence[str],
        *,
        places: int,
        patience: float,
        max_failures: int,
        on_out: Callable[["Address"], None],
    ) -> None:
        self.name = name
        self.addresses = [Address(url) for url in urls]
        self.in_flight = 0
        self.refused = 0
        self._places = places
        self._patience = patience
        self._max_failures = max_failures
        self._on_out = on_out
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._turn = 0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def take_free_place(self) -> bool:
        if self.in_flight >= self._places or self._waiting:
            return False
        self.in_flight += 1
        return True

    async def wait_for_place(self) -> None:
        """Raises UpstreamBusyError when no place comes free in time."""
        mine = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        try:
            async with asyncio.timeout(self._patience):
                # Whoever gives a place back hands it over with this, and does not count it down.
                await mine
        except BaseException as error:
            if mine.done() and not mine.cancelled():
                self.give_place()
            elif mine in self._waiting:
                # Else a place came free between its end and this, and it was passed over.
                self._waiting.remove(mine)
            if isinstance(error, TimeoutError):
                self.refused += 1
                raise UpstreamBusyError(retry_after=1) from None
            raise

    def give_place(self) -> None:
        while self._waiting:
            next_one = self._waiting.popleft()
            if not next_one.done():
                next_one.set_result(None)
                return
        self.in_flight -= 1

    def pick(self, tried: Sequence[Address] = ()) -> Address:
        """The address with the fewest requests in flight among those not ``tried`` yet; there must be one."""
        if len(self.addresses) == 1:
            return self.addresses[0]
        left = [address for address in self.addresses if address not in tried]
        candidates = [address for address in left if not address.is_out] or left
        # Begins behind the last one, so that equals take turns.
        self._turn += 1
        start = self._turn % len(candidates)
        return min(candidates[start:] + candidates[:start], key=_load)

    def enter(self, address: Address) -> None:
        address.in_flight += 1
        address.requests += 1

    def leave(self, address: Address) -> None:
        """The end of a request: for its address, and for whoever waits for its place."""
        address.in_flight -= 1
        self.give_place()

    def failed(self, address: Address) -> None:
        address.errors += 1
        address.failures += 1
        # An upstream's only address stays in: without it every request would fail for certain.
        if address.failures >= self._max_failures and not address.is_out and len(self.addresses) > 1:
            address.is_out = True
            log.warning("upstream address is out", upstream=self.name, address=address.url, failures=address.failures)
            self._on_out(address)

    def back(self, address: Address) -> None:
        address.is_out = False
        address.failures = 0
        log.info("upstream address is back", upstream=self.name, address=address.url)


def _load(address: Address) -> int:
    return address.in_flight
