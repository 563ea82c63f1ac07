"""Where a webhook may be sent: its host is resolved here, and every address that it has must be public or allowed.

Otherwise a user could let the service call what only its own network reaches (SSRF: OWASP ASVS 5.0, 1.3.6). The
connection then goes to an address that was checked, and not to what another look-up would find (DNS rebinding).
"""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import httpx

from kpi_kit.addresses import Address, Network, is_public
from kpi_kit.notify.errors import ChannelUnavailableError, DeliveryRefusedError

_MOST_URL = 2000
# A look-up cannot be ended: it holds its thread until the system gives up.
_THREADS = 64
_LAST_PORT = 65535


class Destination(NamedTuple):
    """A URL whose host is one of its addresses, what the Host header has, and the name on the certificate."""

    url: httpx.URL
    authority: str
    server_name: str


class Destinations:
    def __init__(self, *, schemes: frozenset[str], allowed: Sequence[Network], seconds: float) -> None:
        self._schemes = schemes
        self._allowed = tuple(allowed)
        self._seconds = seconds
        self._threads: ThreadPoolExecutor | None = None
        self._look_ups: dict[str, asyncio.Future[list[str]]] = {}

    def open(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="kpi-kit-webhook-resolver")

    def close(self) -> None:
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)

    async def find(self, text: str) -> Destination:
        """DeliveryRefusedError if nothing may be sent there; ChannelUnavailableError if it cannot be resolved now."""
        url = self._parse(text)
        host = url.raw_host.decode().rstrip(".")
        address = self._choose(await self._resolve(host))
        return Destination(url.copy_with(host=str(address)), url.netloc.decode(), host)

    def _parse(self, text: str) -> httpx.URL:
        is_plain = (
            len(text) <= _MOST_URL and text.isascii() and text.isprintable() and not set(text) & set(' \\"<>^`{|}')
        )
        try:
            url = httpx.URL(text) if is_plain else None
            port = url.port if url is not None else None
        except (httpx.InvalidURL, ValueError):
            url = port = None
        if url is None or url.scheme not in self._schemes or not url.raw_host or b"%" in url.raw_host:
            raise DeliveryRefusedError(f"the address is no URL with {' or '.join(sorted(self._schemes))} and a host")
        if port is not None and not 0 < port <= _LAST_PORT:
            raise DeliveryRefusedError(f"the port must be between 1 and {_LAST_PORT}")
        if url.userinfo or "#" in text:
            raise DeliveryRefusedError("the URL must have no credentials and no fragment")
        return url

    async def _resolve(self, host: str) -> list[str]:
        if self._threads is None:
            raise ChannelUnavailableError("the channel is not open")
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.shield(self._find_look_up(self._threads, host))
        except (TimeoutError, OSError, UnicodeError):
            raise ChannelUnavailableError("the host cannot be resolved") from None

    def _find_look_up(self, threads: ThreadPoolExecutor, host: str) -> asyncio.Future[list[str]]:
        """One for all who ask for a host at the same time, so that a silent name server holds one thread."""
        look_up = self._look_ups.get(host)
        if look_up is None:
            look_up = asyncio.get_running_loop().run_in_executor(threads, _look_up, host)
            self._look_ups[host] = look_up
            look_up.add_done_callback(lambda done: self._end_look_up(host, done))
        return look_up

    def _end_look_up(self, host: str, done: asyncio.Future[list[str]]) -> None:
        del self._look_ups[host]
        if not done.cancelled():
            # Read, so that the loop does not report it when all who waited have given up.
            done.exception()

    def _choose(self, found: Sequence[str]) -> Address:
        """The first; one address that is not allowed refuses them all, since which one is used would be chance."""
        addresses = [_parse_address(text) for text in found]
        for address in addresses:
            if not (is_public(address) or any(address in network for network in self._allowed)):
                raise DeliveryRefusedError("the host has an address that is not public")
        return addresses[0]


def _parse_address(text: str) -> Address:
    """An address with a zone is one of this machine's own links."""
    address = ipaddress.ip_address(text)
    if getattr(address, "scope_id", None) is not None:
        raise DeliveryRefusedError("the host has an address that is not public")
    return address


def _look_up(host: str) -> list[str]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
