"""Where events may be sent: the host of a URL is resolved here, and every address that it has must be public.

Otherwise an admin could let this service call what only the host itself reaches (SSRF: OWASP ASVS 5.0, 1.3.6). The
connection then goes to an address that was checked, and not to what another look-up would find (DNS rebinding).
"""

import asyncio
import ipaddress
import re
import socket
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, NamedTuple, Protocol

import httpx
from fastapi import Depends, FastAPI, Request
from kpi_shared.addresses import Address, Network, parse_networks

from kpi_auth.settings import AuthSettings
from kpi_auth.webhooks.errors import RefusedDestinationError
from kpi_auth.webhooks.fields import MAX_URL

_PORTS = {"http": 80, "https": 443}
_V4_BITS = 0xFFFFFFFF
# Prefixes of IPv6 whose last four bytes are an IPv4 address: NAT64 (RFC 6052), its local form (RFC 8215), and addresses
# that are IPv4-compatible (RFC 4291, 2.5.5.1).
_WITH_V4_AT_END = tuple(ipaddress.IPv6Network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "::/96"))
# What ``is_global`` says of these depends on the version of Python, or is not what is meant here: protocol assignments,
# 6to4 relays, and the services that Azure gives its machines.
_NOT_PUBLIC = parse_networks(
    ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "2001::/23", "2001:db8::/32", "3fff::/20")
)
# All that is assigned to hosts in IPv6 (RFC 4291, 2.4; IANA).
_UNICAST = ipaddress.IPv6Network("2000::/3")
_LAST_PORT = 65_535
# A resolver that does not answer holds a thread for half a minute; each host holds one at most.
_THREADS = 32


class Resolver(Protocol):
    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """The addresses of a host; OSError if there are none."""


class Destination(NamedTuple):
    """A URL, its host as name servers and certificates have it, and the addresses to which its requests may go."""

    url: httpx.URL
    host: str
    addresses: tuple[Address, ...]


class Destinations:
    def __init__(self, settings: AuthSettings, resolve: Resolver) -> None:
        self._allowed = parse_networks(settings.webhook_allowed_networks)
        self._schemes = {"https", "http"} if settings.allows_http_webhooks else {"https"}
        self._resolve = resolve

    async def find(self, text: str, *, seconds: float) -> Destination:
        """Resolve the host of a URL; RefusedDestinationError if nothing may be sent there."""
        url = self.parse(text)
        host = _get_host(url)
        try:
            async with asyncio.timeout(seconds):
                found = await self._resolve(host, url.port or _PORTS[url.scheme])
        except TimeoutError:
            raise RefusedDestinationError(f"The host {host} could not be resolved in time") from None
        except (OSError, UnicodeError):
            raise RefusedDestinationError(f"The host {host} cannot be resolved") from None
        return Destination(url, host, self._check(host, found))

    def parse(self, text: str) -> httpx.URL:
        if len(text) > MAX_URL or not text.isascii() or not text.isprintable() or set(text) & set(' \\"<>^`{|}'):
            raise RefusedDestinationError(f"At most {MAX_URL} characters that a URL may have are required")
        try:
            url = httpx.URL(text)
            port = url.port
        except (httpx.InvalidURL, ValueError):
            raise RefusedDestinationError("This is not a URL") from None
        if url.scheme not in self._schemes:
            raise RefusedDestinationError(f"The URL must begin with {' or '.join(sorted(self._schemes))}")
        if not _get_host(url) or b"%" in url.raw_host or port == 0 or (port or 0) > _LAST_PORT:
            raise RefusedDestinationError("The URL has no host, or no port that can be used")
        if url.userinfo or "@" in re.split(r"[/?#]", text.partition("//")[2])[0] or "#" in text:
            raise RefusedDestinationError("The URL must have no credentials and no fragment")
        return url

    def _check(self, host: str, found: Sequence[str]) -> tuple[Address, ...]:
        """One address that is not allowed refuses them all: which one is used would be chance."""
        addresses = tuple(dict.fromkeys(_parse_address(host, text) for text in found))
        if not addresses:
            raise RefusedDestinationError(f"The host {host} has no address")
        for address in addresses:
            if not (is_public(address) or _is_in(address, self._allowed)):
                raise RefusedDestinationError(f"{host} has an address that is not public")
        return addresses


def get_receiver(text: str) -> str:
    """The scheme, host and port of a URL that was checked: what logs may have of it, since the rest may be a secret."""
    url = httpx.URL(text)
    return f"{url.scheme}://{url.netloc.decode()}"


def _get_host(url: httpx.URL) -> str:
    """Without a last dot. ``url.host`` is what an internationalised name means in a standard that no name server uses.

    Of ``xn--strae-oqa.de`` it makes another host, whose owner may be another, and of ``xn--0`` an error.
    """
    return url.raw_host.decode().rstrip(".")


def is_public(address: Address) -> bool:
    """Is it reachable from the whole internet, and so is the IPv4 address that it contains?"""
    if isinstance(address, ipaddress.IPv6Address):
        embedded = _find_embedded(address)
        if embedded is not None:
            return address not in _WITH_V4_AT_END[-1] and is_public(embedded)
        if address not in _UNICAST:
            return False
    return (
        address.is_global and not address.is_multicast and not address.is_reserved and not _is_in(address, _NOT_PUBLIC)
    )


def _find_embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address.ipv4_mapped is not None or address.sixtofour is not None:
        return address.ipv4_mapped or address.sixtofour
    if any(address in network for network in _WITH_V4_AT_END):
        return ipaddress.IPv4Address(int(address) & _V4_BITS)
    return None


def _is_in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _parse_address(host: str, text: str) -> Address:
    """An address with a zone is one of this machine's own links."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        address = None
    if address is None or getattr(address, "scope_id", None) is not None:
        raise RefusedDestinationError(f"{host} has an address that cannot be used")
    return address


class SystemResolver:
    """Resolves in threads of its own, so that hosts whose servers do not answer delay no other work."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="webhook-resolver")
        self._lookups: dict[tuple[str, int], asyncio.Future[list[str]]] = {}

    async def __call__(self, host: str, port: int) -> list[str]:
        key = host, port
        if key not in self._lookups:
            lookup = asyncio.get_running_loop().run_in_executor(self._threads, _look_up, host, port)
            self._lookups[key] = lookup
            lookup.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(self._lookups[key])

    def _forget(self, key: tuple[str, int], done: asyncio.Future[list[str]]) -> None:
        del self._lookups[key]
        if not done.cancelled():
            # Also where its callers have given up: else the loop reports an error that was not looked at.
            done.exception()

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


async def webhook_destinations(app: FastAPI) -> AsyncIterator[None]:
    """The resource behind ``DestinationsOfApp``."""
    resolver = SystemResolver()
    app.state.webhook_destinations = Destinations(app.state.settings, resolver)
    yield
    resolver.close()


async def _destinations(request: Request) -> Destinations:
    found: Destinations = request.app.state.webhook_destinations
    return found


DestinationsOfApp = Annotated[Destinations, Depends(_destinations)]
