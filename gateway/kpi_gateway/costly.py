"""Few places for costly requests, shared fairly: as many as keep the service busy, so that all others wait here.

The service has places of its own, but a request that it refuses has been forwarded by then, which takes a third of the
time that a search takes; three times the load that can be served would halve what is served.
"""

import re

from kpi_shared.places import Places, SteadyPlaces, Turn
from starlette.types import Message, Scope, Send

from kpi_gateway.credentials.presented import FIELDS
from kpi_gateway.routes import Match, RouteTable
from kpi_gateway.settings import GatewaySettings
from kpi_gateway.upstream.contract import UpstreamBusyError

# For each place. A line that is longer only makes its requests wait, and some of them in vain.
_WAITING = 2
# Until requests have been measured, in seconds.
_USUAL = 0.01
_ESCAPED_NAME = re.compile(rb"(?:^|&)[^=&]*%")


class CostlyPlaces:
    """By the upstream, for those that have costly requests."""

    def __init__(self, settings: GatewaySettings, table: RouteTable) -> None:
        self.by_upstream = {
            route.upstream: _create_places(settings, settings.costly_requests_per_address * len(route.urls))
            for route in table.costly_routes
        }

    def find(self, match: Match, scope: Scope) -> Places | None:
        """The places for this request, if it is costly and has no credential.

        Who has one is known to the service, whatever the address: it decides about those.
        """
        costly = match.route.costly
        if costly is None or scope["method"] not in {"GET", "HEAD"} or not _is_costly(scope["query_string"], costly):
            return None
        if any(name in FIELDS for name, _ in scope["headers"]):
            return None
        return self.by_upstream[match.route.upstream]


def _is_costly(query: bytes, costly: re.Pattern[bytes]) -> bool:
    """Upstreams decode the names of parameters, so an escaped one may be any of them."""
    return bool(costly.search(query) or (b"%" in query and _ESCAPED_NAME.search(query)))


def give_back_at_start(turn: Turn, send: Send) -> Send:
    """``send``, which gives the place back when the response starts: a client that reads slowly must not hold it."""

    async def send_and_give_back(message: Message) -> None:
        if message["type"] == "http.response.start":
            turn.give_back()
        await send(message)

    return send_and_give_back


def _create_places(settings: GatewaySettings, total: int) -> Places:
    return SteadyPlaces(
        total,
        waiting=_WAITING * total,
        patience=settings.upstream_queue_timeout,
        usual=_USUAL,
        refusal=UpstreamBusyError,
    )
