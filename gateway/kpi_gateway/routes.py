"""The route table: which upstream serves a path, and what the path is called there."""

from collections.abc import Sequence
from typing import NamedTuple

from kpi_gateway.settings import GatewaySettings, RouteSetting
from kpi_gateway.upstream import Timeouts

# Longest first: /api/v1/posts must not be read as /api + /v1/posts.
ADDRESS_FORMS = (b"/api/v1", b"/api", b"")
API = "/api/v1"


class Route(NamedTuple):
    prefix: bytes
    upstream: str
    # The upstream's addresses.
    urls: tuple[bytes, ...]
    timeouts: Timeouts
    # In bytes.
    body_limit: int

    @property
    def path_format(self) -> str:
        """The route's name in metrics and logs, by the word that frameworks have for it."""
        return self.prefix.decode("ascii")


class Match(NamedTuple):
    """Where a request goes: ``path`` is the raw path without ``form``, which of the three address forms it had."""

    route: Route
    form: bytes
    path: bytes


class RouteTable:
    def __init__(self, routes: Sequence[Route]) -> None:
        self._in_order = routes
        self._longest_first = sorted(routes, key=lambda route: len(route.prefix), reverse=True)

    @classmethod
    def of(cls, settings: GatewaySettings) -> "RouteTable":
        return cls([_route(settings, row) for row in settings.routes])

    @property
    def upstreams(self) -> list[str]:
        """The name of each upstream that a route leads to."""
        return list(dict.fromkeys(route.upstream for route in self._in_order))

    def match(self, path: bytes) -> Match | None:
        """The route of a raw path, or None where no upstream serves it."""
        form = next(form for form in ADDRESS_FORMS if path.startswith(form + b"/"))
        rest = path[len(form) :]
        route = self.find(rest)
        return Match(route, form, rest) if route is not None else None

    def find(self, path: bytes) -> Route | None:
        """The longest prefix that ends at a segment's end."""
        for route in self._longest_first:
            if path.startswith(route.prefix) and path[len(route.prefix) : len(route.prefix) + 1] in (b"", b"/"):
                return route
        return None


def _route(settings: GatewaySettings, row: RouteSetting) -> Route:
    return Route(
        row.prefix.encode(),
        row.upstream,
        tuple(url.encode() for url in settings.upstream_urls[row.upstream]),
        settings.timeouts_of(row),
        settings.body_limit if row.body_limit is None else row.body_limit,
    )
