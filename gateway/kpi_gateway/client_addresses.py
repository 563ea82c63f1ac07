"""Which client a request is from, according to its connection and the trusted proxies in front of the gateway."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from kpi_shared.addresses import Network, client_address, client_network, client_site
from starlette.types import Scope

# A client that returns within this many others costs only a look-up. Some 2 MB when full.
_MAX_REMEMBERED = 8192


class Client(NamedTuple):
    """``address`` is what upstreams are told; ``network`` is what rate limits apply to.

    ``site`` is the /48 of an IPv6 address, whose limits are higher.
    """

    address: str
    network: str
    site: str | None = None


class ClientAddresses:
    """Finds the client of a request. ``trusted`` are the networks of proxies whose X-Forwarded-For is trusted."""

    def __init__(self, trusted: Sequence[Network] = ()) -> None:
        self._trusted = trusted
        self._remembered = lru_cache(_MAX_REMEMBERED)(self._determine)

    def find(self, scope: Scope) -> Client:
        peer = scope["client"][0] if scope["client"] else "unknown"
        if not self._trusted:
            return self._remembered(peer, ())
        return self._remembered(peer, tuple([value for name, value in scope["headers"] if name == b"x-forwarded-for"]))

    def _determine(self, peer: str, forwarded: tuple[bytes, ...]) -> Client:
        address = client_address(peer, [value.decode("latin-1") for value in forwarded], self._trusted)
        if address is None:
            # A Unix socket has no address: all requests through it are from one client.
            return Client(peer, peer)
        site = client_site(address)
        shown = str(address) if self._trusted else peer
        if site is None:
            return Client(shown, str(address))
        return Client(shown, str(client_network(address)), str(site))
