"""The route table: which upstream serves a path, and under which path it is known there."""

import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from kpi_gateway.setting_types import RouteSetting, Timeouts
from kpi_gateway.settings import GatewaySettings

API = "/api/v1"
# Health checks are frequent and must not be refused.
UNLIMITED = b"/health"


class Route(NamedTuple):
    """A row of the table; see RouteSetting."""

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
    has_effects: bool
    # The route's name in metrics and logs; frameworks call it so.
    path_format: str
    # Found in the query string of a costly request.
    costly: re.Pattern[bytes] | None = None
    streams_bodies: bool = False


class Match(NamedTuple):
    """Where a request goes: ``path`` is the raw path without ``form``, the one of the three prefixes that it had."""

    route: Route
    form: bytes
    path: bytes
    limit: str | None = None

    def take_time(self, seconds: float) -> "Match":
        """The same with that much less time for the response to begin."""
        return self._replace(route=self.route._replace(timeouts=self.route.timeouts.spend(seconds)))


class RouteTable:
    def __init__(self, routes: Sequence[Route]) -> None:
        self._in_order = routes
        # By their first segment, so that a path is compared with few rows; each list in order of precedence.
        self._by_head: dict[bytes, list[Route]] = {}
        for route in sorted(routes, key=lambda route: (-len(route.prefix), not route.methods, not route.exact)):
            self._by_head.setdefault(_head(route.prefix), []).append(route)

    @classmethod
    def of(cls, settings: GatewaySettings) -> "RouteTable":
        return cls([_route(settings, row) for row in settings.routes])

    @property
    def upstreams(self) -> list[str]:
        """The names of the upstreams that routes refer to."""
        return list(dict.fromkeys(route.upstream for route in self._in_order))

    @property
    def costly_routes(self) -> list[Route]:
        return [route for route in self._in_order if route.costly is not None]

    def match(self, path: bytes, method: str) -> Match | None:
        """The route of a raw path, or None if no upstream serves it."""
        form = _form(path)
        rest = path[len(form) :]
        route = self.find(rest, method)
        if route is None:
            return None
        limit = route.limit
        if b"%" in rest:
            # Upstreams decode the path, so an escaped letter or slash must not bypass a stricter limit.
            decoded = self.find(unquote_to_bytes(rest), method)
            limit = (decoded and decoded.limit) or limit
        return Match(route, form, rest, limit)

    def find(self, path: bytes, method: str | None = None) -> Route | None:
        """The row of a path: the longest prefix that ends at the end of a segment, among those for ``method``."""
        for route in self._by_head.get(_head(path), ()):
            if route.methods and method is not None and method not in route.methods:
                continue
            if path.startswith(route.prefix) and _is_end(path, route):
                return route
        return None


def _form(path: bytes) -> bytes:
    """The prefix of the address: /api/v1/posts must not be read as /api + /v1/posts."""
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
        row.has_effects,
        row.prefix,
        _costly(row),
        row.streams_bodies,
    )


def _costly(row: RouteSetting) -> re.Pattern[bytes] | None:
    names = b"|".join(re.escape(name.encode()) for name in row.costly_parameters)
    return re.compile(rb"(?:^|&)(?:%b)=" % names) if names else None


def _methods(row: RouteSetting) -> frozenset[str]:
    # HEAD is served wherever GET is.
    return frozenset((*row.methods, "HEAD") if "GET" in row.methods else row.methods)


def _head(path: bytes) -> bytes:
    end = path.find(b"/", 1)
    return path if end < 0 else path[:end]


def _is_end(path: bytes, route: Route) -> bool:
    rest = path[len(route.prefix) :]
    if route.exact:
        # Some programs treat an address with trailing slashes as the same address.
        return not rest.strip(b"/")
    return not rest or rest.startswith(b"/")
