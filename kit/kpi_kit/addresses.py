"""Which addresses of the internet protocols are public: what a URL that others have written may reach."""

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_V4_BITS = 0xFFFFFFFF
# Prefixes of IPv6 whose last four bytes are an IPv4 address: NAT64 (RFC 6052), its local form (RFC 8215), and addresses
# that are IPv4-compatible (RFC 4291, 2.5.5.1).
_WITH_V4_AT_END = tuple(ipaddress.IPv6Network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "::/96"))
# What ``is_global`` says of these depends on the version of Python, or is not what is meant here: protocol assignments,
# 6to4 relays, and the services that Azure gives its machines.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(text)
    for text in ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32", "2001::/23", "2001:db8::/32", "3fff::/20")
)
# All that is assigned to hosts in IPv6 (RFC 4291, 2.4; IANA).
_UNICAST = ipaddress.IPv6Network("2000::/3")


def is_public(address: Address) -> bool:
    """Is it reachable from the whole internet, and so is the IPv4 address that it contains?"""
    if isinstance(address, ipaddress.IPv6Address):
        embedded = _find_embedded(address)
        if embedded is not None:
            return address not in _WITH_V4_AT_END[-1] and is_public(embedded)
        if address not in _UNICAST:
            return False
    is_listed = any(address in network for network in _NOT_PUBLIC)
    return address.is_global and not address.is_multicast and not address.is_reserved and not is_listed


def _find_embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address.ipv4_mapped is not None or address.sixtofour is not None:
        return address.ipv4_mapped or address.sixtofour
    if any(address in network for network in _WITH_V4_AT_END):
        return ipaddress.IPv4Address(int(address) & _V4_BITS)
    return None
