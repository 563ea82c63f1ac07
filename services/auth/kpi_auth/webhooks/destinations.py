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
from kpi_kit.addresses import is_public
from kpi_shared.addresses import Address, Network, parse_networks

from kpi_auth.settings import AuthSettings
from kpi_auth.webhooks.errors import RefusedDestinationError
from kpi_auth.webhooks.fields import MAX_URL

_LAST_PORT = 65_535
# Threads for look-ups: of hosts that were resolved in time at their last look-up, and of others.
_THREADS = {True: 32, False: 16}
_MOST_KNOWN = 1000


class Resolver(Protocol):
    async def __call__(self, host: str) -> Sequence[str]:
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
                found = await self._resolve(host)
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
    """Resolves in threads of its own, so that hosts whose servers do not answer delay no other work.

    A look-up cannot be ended: it holds its thread until the system gives up, perhaps for half a minute. So each host
    has one at most, and hosts whose last look-up was not in time leave two thirds of the threads to those whose was.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(sum(_THREADS.values()), thread_name_prefix="webhook-resolver")
        self._places = {is_known: asyncio.Semaphore(count) for is_known, count in _THREADS.items()}
        self._lookups: dict[str, asyncio.Future[list[str]]] = {}
        # Hosts whose last look-up has succeeded before its callers gave up, or may yet do so; the latest at the end.
        self._known: dict[str, None] = {}

    async def __call__(self, host: str) -> list[str]:
        try:
            if host not in self._lookups:
                await self._begin(host)
            return await asyncio.shield(self._lookups[host])
        except asyncio.CancelledError:
            self._known.pop(host, None)
            raise

    async def _begin(self, host: str) -> None:
        places = self._places[host in self._known]
        await places.acquire()
        if host in self._lookups:
            # Another caller has begun it in the meantime.
            places.release()
            return
        # For its next look-up: a caller who gives this one up, or its failure, ends that.
        self._known.pop(host, None)
        self._known[host] = None
        lookup = asyncio.get_running_loop().run_in_executor(self._threads, _look_up, host)
        self._lookups[host] = lookup
        lookup.add_done_callback(lambda done: self._end(host, places, done))

    def _end(self, host: str, places: asyncio.Semaphore, done: asyncio.Future[list[str]]) -> None:
        places.release()
        del self._lookups[host]
        # The exception is read also where its callers have given up: else the loop reports one that was not looked at.
        if done.cancelled() or done.exception() is not None:
            self._known.pop(host, None)
        if len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str) -> list[str]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
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
