"""The route table: which upstream serves a path, and what the path is called there."""

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from kpi_gateway.settings import GatewaySettings, RouteSetting
from kpi_gateway.upstream import Timeouts

API = "/api/v1"


class Route(NamedTuple):
    """A row of the table, as RouteSetting tells."""

    prefix: bytes
    upstream: str
    # The upstream's addresses.
    urls: tuple[bytes, ...]
    timeouts: Timeouts
    # In bytes.
    body_limit: int
    methods: frozenset[str]
    exact: bool
    limit: str | None
    # The route's name in metrics and logs, by the word that frameworks have for it.
    path_format: str


class Match(NamedTuple):
    """Where a request goes: ``path`` is the raw path without ``form``, which of the three address forms it had."""

    route: Route
    form: bytes
    path: bytes
    limit: str | None = None


class RouteTable:
    def __init__(self, routes: Sequence[Route]) -> None:
        self._in_order = routes
        # By their first segment, so that a path is compared with few; each in the order in which rows count.
        self._by_head: dict[bytes, list[Route]] = {}
        for route in sorted(routes, key=lambda route: (-len(route.prefix), not route.methods, not route.exact)):
            self._by_head.setdefault(_head(route.prefix), []).append(route)

    @classmethod
    def of(cls, settings: GatewaySettings) -> "RouteTable":
        return cls([_route(settings, row) for row in settings.routes])

    @property
    def upstreams(self) -> list[str]:
        """The name of each upstream that a route leads to."""
        return list(dict.fromkeys(route.upstream for route in self._in_order))

    def match(self, path: bytes, method: str) -> Match | None:
        """The route of a raw path, or None where no upstream serves it."""
        form = _form(path)
        rest = path[len(form) :]
        route = self.find(rest, method)
        if route is None:
            return None
        limit = route.limit
        if b"%" in rest:
            # Upstreams read the path decoded, so an escaped letter or slash must not lead past a stricter limit.
            read = self.find(unquote_to_bytes(rest), method)
            limit = (read and read.limit) or limit
        return Match(route, form, rest, limit)

    def find(self, path: bytes, method: str | None = None) -> Route | None:
        """The row of a path: the longest prefix that ends at a segment's end, of those for ``method``."""
        for route in self._by_head.get(_head(path), ()):
            if route.methods and method is not None and method not in route.methods:
                continue
            if path.startswith(route.prefix) and _ends(path, route):
                return route
        return None


def _form(path: bytes) -> bytes:
    """In which form the address is written: /api/v1/posts must not be read as /api + /v1/posts."""
    if not path.startswith(b"/api/"):
        return b""
    return b"/api/v1" if path.startswith(b"/api/v1/") else b"/api"


def _route(settings: GatewaySettings, row: RouteSetting) -> Route:
    return Route(
        row.prefix.encode(),
        row.upstream,
        tuple(url.encode() for url in settings.upstream_urls[row.upstream]),
        settings.timeouts_of(row),
        settings.body_limit if row.body_limit is None else row.body_limit,
        _methods(row),
        row.exact,
        row.limit,
        row.prefix,
    )


def _methods(row: RouteSetting) -> frozenset[str]:
    # Wherever GET is answered, HEAD is.
    return frozenset((*row.methods, "HEAD") if "GET" in row.methods else row.methods)


def _head(path: bytes) -> bytes:
    end = path.find(b"/", 1)
    return path if end < 0 else path[:end]


def _ends(path: bytes, route: Route) -> bool:
    rest = path[len(route.prefix) :]
    if route.exact:
        # With more slashes it is no other address to those who write one.
        return not rest.strip(b"/")
    return not rest or rest.startswith(b"/")
