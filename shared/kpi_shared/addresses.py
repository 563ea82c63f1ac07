"""Client addresses behind trusted proxies."""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
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
    """The nearest address that is not a trusted proxy; None if the peer has no address, as on a Unix socket.

    ``forwarded_for`` are the values of all ``X-Forwarded-For`` headers in order. Each proxy appends the address of its
    peer, so the list is read from the right, up to the first address that is not trusted: a client may have written
    everything before it. Reading also ends at an entry that is not an address.
    """
    nearest = parse_address(peer)
    hops = [hop for value in forwarded_for for hop in value.split(",")]
    while nearest is not None and hops and _is_in(nearest, trusted):
        further = parse_address(hops.pop().strip())
        if further is None:
            break
        nearest = further
    return nearest


def are_all_loopback(peer: str, forwarded_for: Sequence[str]) -> bool:
    """Whether the connection and every hop that ``X-Forwarded-For`` names are on this machine, with none unknown."""
    hops = [peer, *(hop.strip() for value in forwarded_for for hop in value.split(","))]
    addresses = [parse_address(hop) for hop in hops]
    return all(address is not None and address.is_loopback for address in addresses)


def _is_in(address: Address, trusted: Sequence[Network]) -> bool:
    return any(address in network for network in trusted)


def parse_address(text: str) -> Address | None:
    """An address, IPv4 if it is IPv4-mapped; None for anything else."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        # A zone has a meaning on one machine only.
        return address.ipv4_mapped or ipaddress.IPv6Address(int(address))
    return address


# Several limits of one request are about the same network.
@lru_cache(maxsize=1024)
def client_network(address: Address) -> Network:
    """The network that one limit covers: an IPv4 address, or the /64 of an IPv6 host (RFC 7934)."""
    return ipaddress.ip_network((address, 64 if address.version == 6 else 32), strict=False)  # noqa: PLR2004 RFC 4291


def client_site(address: Address) -> Network | None:
    """The /48 of an IPv6 address, which providers assign to one customer (RFC 6177); None for an IPv4 address."""
    return ipaddress.ip_network((address, 48), strict=False) if address.version == 6 else None  # noqa: PLR2004 RFC 4291
