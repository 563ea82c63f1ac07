"""Name servers that a test controls, and destinations on this machine."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network

from kpi_kit.destinations import Destinations
from kpi_kit.resolver import Resolver


@dataclass
class FixedResolver:
    """Gives the same addresses for each host."""

    addresses: Sequence[str]
    hosts: list[str] = field(default_factory=list)

    async def __call__(self, host: str) -> Sequence[str]:
        self.hosts.append(host)
        return self.addresses


def make_destinations(resolve: Resolver, *allowed: str, schemes: Sequence[str] = ("https", "http")) -> Destinations:
    return Destinations(resolve, schemes=frozenset(schemes), allowed=[ip_network(text) for text in allowed])
