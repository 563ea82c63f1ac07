"""Where a request may go whose URL others have written: its host is resolved here, and each address must be public.

Otherwise they could let a service call what only its own network reaches (SSRF: OWASP ASVS 5.0, 1.3.6). The
connection then goes to an address that was checked, and not to what another look-up would find (DNS rebinding).

This module needs httpx; kpi_kit.posting needs httpx and httpcore.
"""

import asyncio
import ipaddress
import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

import httpx

from kpi_kit.addresses import Address, Network, is_public
from kpi_kit.errors import DriverUnavailableError, KitError
from kpi_kit.resolver import Resolver

MAX_URL = 2048
# For URLs that the operator has written.
EVERYWHERE = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:]*)(:[0-9]*)?")
_LAST_PORT = 65_535


class DestinationError(KitError):
    """Nothing was sent, or the receiver did not accept it.

    ``reason`` names no host and quotes nothing. The text of the error does, for those who have written the URL.
    """

    def __init__(self, reason: str, text: str = "") -> None:
        self.reason = reason
        super().__init__(text or reason)


class RefusedDestinationError(DestinationError):
    """Nothing may be sent there: another attempt would fail in the same way, unless the host changes."""


class GoneError(RefusedDestinationError):
    """The receiver says that it wants no further requests."""


class UnavailableDestinationError(DestinationError, DriverUnavailableError):
    """The receiver cannot be reached now, or did not accept the request. It may have it nevertheless."""


class Destination(NamedTuple):
    """A URL, its host as name servers and certificates have it, and the addresses to which its requests may go."""

    url: httpx.URL
    host: str
    addresses: tuple[Address, ...]


class Destinations:
    """``allowed`` are networks that are not public, and where requests may go all the same."""

    def __init__(self, resolve: Resolver, *, schemes: frozenset[str], allowed: Sequence[Network] = ()) -> None:
        self._resolve = resolve
        self._schemes = schemes
        self._allowed = tuple(allowed)

    async def find(self, text: str, *, seconds: float) -> Destination:
        """Resolve the host of a URL; RefusedDestinationError, or UnavailableDestinationError if that fails now."""
        url = parse_destination(text, self._schemes)
        host = _get_host(url)
        try:
            async with asyncio.timeout(seconds):
                found = await self._resolve(host)
        except TimeoutError:
            raise UnavailableDestinationError(*_describe(host, "could not be resolved in time")) from None
        except OSError:
            raise UnavailableDestinationError(*_describe(host, "cannot be resolved")) from None
        except UnicodeError:
            raise RefusedDestinationError(*_describe(host, "cannot be resolved")) from None
        return Destination(url, host, self._check(host, found))

    def _check(self, host: str, found: Sequence[str]) -> tuple[Address, ...]:
        """One address that is not allowed refuses them all: which one is used would be chance."""
        addresses = tuple(dict.fromkeys(_parse_address(host, text) for text in found))
        if not addresses:
            raise RefusedDestinationError(*_describe(host, "has no address"))
        for address in addresses:
            if not (is_public(address) or any(address in network for network in self._allowed)):
                raise RefusedDestinationError(*_describe(host, "has an address that is not public"))
        return addresses


def parse_destination(text: str, schemes: Collection[str]) -> httpx.URL:
    """RefusedDestinationError if nothing can be sent to this URL, whatever its host."""
    if len(text) > MAX_URL or not text.isascii() or not text.isprintable() or set(text) & set(' \\"<>^`{|}'):
        raise RefusedDestinationError(
            f"the URL must have at most {MAX_URL} characters, and only those that a URL may have"
        )
    try:
        url = httpx.URL(text)
        port = url.port
    except (httpx.InvalidURL, ValueError):
        raise RefusedDestinationError("the URL is not valid") from None
    if url.scheme not in schemes:
        raise RefusedDestinationError(f"the URL must begin with {' or '.join(sorted(schemes))}")
    authority = re.split(r"[/?#]", text.partition("//")[2])[0]
    if url.userinfo or "@" in authority or "#" in text:
        raise RefusedDestinationError("the URL must have no credentials and no fragment")
    # Python's int() takes more than digits: -1 and 8_0.
    is_port_valid = _AUTHORITY.fullmatch(authority) and port != 0 and (port or 0) <= _LAST_PORT
    if not _get_host(url) or b"%" in url.raw_host or not is_port_valid:
        raise RefusedDestinationError("the URL must have a host, and a port from 1 to 65535 if it has one")
    return url


def _describe(host: str, fault: str) -> tuple[str, str]:
    """The reason and the text of an error."""
    return f"the host {fault}", f"the host {host} {fault}"


def _get_host(url: httpx.URL) -> str:
    """Without a last dot. ``url.host`` is what an internationalised name means in a standard that no name server uses.

    Of ``xn--strae-oqa.de`` it makes another host, whose owner may be another, and of ``xn--0`` an error.
    """
    return url.raw_host.decode().rstrip(".")


def _parse_address(host: str, text: str) -> Address:
    """An address with a zone is one of this machine's own links."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        address = None
    if address is None or getattr(address, "scope_id", None) is not None:
        raise RefusedDestinationError(*_describe(host, "has an address that cannot be used"))
    return address
