"""Whom a request is from, as far as its connection and the trusted proxies in front of it show."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from kpi_shared.addresses import Network, client_address, client_network
from starlette.types import Scope

# Whoever is heard from again within this many others costs a look-up. Some 2 MB when full.
_REMEMBERED = 8192


class Client(NamedTuple):
    """``address`` is what upstreams are told; ``network`` is whom a limit is for."""

    address: str
    network: str


class Clients:
    """Finds the client of a request. ``trusted`` are the networks of proxies whose X-Forwarded-For counts."""

    def __init__(self, trusted: Sequence[Network] = ()) -> None:
        self._trusted = trusted
        self._found = lru_cache(_REMEMBERED)(self._find)

    def of(self, scope: Scope) -> Client:
        peer = scope["client"][0] if scope["client"] else "unknown"
        if not self._trusted:
            return self._found(peer, ())
        return self._found(peer, tuple([value for name, value in scope["headers"] if name == b"x-forwarded-for"]))

    def _find(self, peer: str, forwarded: tuple[bytes, ...]) -> Client:
        address = client_address(peer, [value.decode("latin-1") for value in forwarded], self._trusted)
        if address is None:
            # A Unix socket has no address: all who come through it are one client.
            return Client(peer, peer)
        network = client_network(address)
        return Client(str(address) if self._trusted else peer, str(network if address.version == 6 else address))  # noqa: PLR2004 RFC 4291
