"""Where a request came from, through the proxies that one trusts and no others."""

import ipaddress
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator

from kpi_shared.settings import CommaSeparated

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _check_networks(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        ipaddress.ip_network(value)
    return values


# Networks such as 10.0.0.0/8, separated by commas.
Networks = Annotated[CommaSeparated, AfterValidator(_check_networks)]


def parse_networks(values: Sequence[str]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(value) for value in values)


def client_address(peer: str, forwarded_for: Sequence[str], trusted: Sequence[Network]) -> Address | None:
    """The nearest address that no trusted proxy has; None where the peer has none, as on a Unix socket.

    ``forwarded_for`` are the values of all ``X-Forwarded-For`` headers in their order. Each proxy adds whom it
    spoke to on the right, so the list is read from there, and only as far as trust goes: whatever stands further
    left, a client may have written itself. An entry that is no address ends the way too.
    """
    nearest = _parse_address(peer)
    hops = [hop for value in forwarded_for for hop in value.split(",")]
    while nearest is not None and hops and _is_in(nearest, trusted):
        further = _parse_address(hops.pop().strip())
        if further is None:
            break
        nearest = further
    return nearest


def _is_in(address: Address, trusted: Sequence[Network]) -> bool:
    return any(address in network for network in trusted)


def _parse_address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        # A zone means something on one machine only.
        return address.ipv4_mapped or ipaddress.IPv6Address(int(address))
    return address


def client_network(address: Address) -> Network:
    """Whom one limit is for: an IPv4 address, or the /64 within which an IPv6 host picks its own (RFC 7934)."""
    return ipaddress.ip_network((address, 64 if address.version == 6 else 32), strict=False)  # noqa: PLR2004 RFC 4291
