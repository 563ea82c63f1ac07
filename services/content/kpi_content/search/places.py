"""The places for searches and totals, so that reads by id and pages never wait for the costly ones.

All connections share PostgreSQL's processors: what keeps costly searches from delaying other requests is that few run
at once, whatever the number of connections.
"""

import re
from collections.abc import AsyncIterator, Hashable
from functools import lru_cache

from fastapi import FastAPI, Request
from kpi_shared.addresses import Network, client_address, client_network, parse_networks
from kpi_shared.caller import Subject
from kpi_shared.http.refusals import Refusal
from kpi_shared.places import Places, Turn, register_metrics
from starlette.types import Scope

from kpi_content.search.errors import SearchBusyError

# Of two replicas beside their database on two processors, searches would otherwise keep both busy all the time.
_REST = 0.5
# The duration of a search until searches have been measured, in seconds.
_USUAL = 0.01
# Names of the parameters that make a list costly, as clients write them. Another spelling is refused later.
_COSTLY = re.compile(rb"(?:^|&)(?:search|total)=")


async def search_places(app: FastAPI) -> AsyncIterator[None]:
    """The resource behind ``take_place``."""
    settings = app.state.settings
    app.state.trusted_proxies = parse_networks(settings.trusted_proxies)
    app.state.search_places = Places(
        settings.parallel_searches,
        waiting=settings.search_queue,
        patience=settings.search_patience,
        usual=_USUAL,
        refusal=SearchBusyError,
        rest=_REST,
    )
    register_metrics(app.state.metrics, "search", app.state.search_places)
    yield


async def take_place(request: Request, caller: Subject | None) -> Turn:
    """A turn for a with statement; SearchBusyError if none is free in time."""
    places: Places = request.app.state.search_places
    return await places.take(_find_source(request, caller))


def _find_source(request: Request, caller: Subject | None) -> Hashable:
    """Who asks: the account, or else the client's network."""
    return _find_network(request.scope) if caller is None else caller.id


def _find_network(scope: Scope) -> Hashable:
    peer = scope["client"][0] if scope["client"] else ""
    forwarded = tuple(value for name, value in scope["headers"] if name == b"x-forwarded-for")
    return _parse_network(peer, forwarded, scope["app"].state.trusted_proxies)


@lru_cache(1000)
def _parse_network(peer: str, forwarded: tuple[bytes, ...], trusted: tuple[Network, ...]) -> Hashable:
    address = client_address(peer, [value.decode("latin-1") for value in forwarded], trusted)
    return client_network(address) if address is not None else None


_REFUSAL = Refusal(SearchBusyError(), path="/posts")


def find_refusal(scope: Scope) -> Refusal | None:
    """The refusal of a costly list for which there is no place, if that can be said before anything is checked.

    Not for a request with a token: the account that it names may have used less than its address.
    """
    if scope["path"] != "/posts" or scope["method"] != "GET" or not _COSTLY.search(scope["query_string"]):
        return None
    if any(name == b"authorization" for name, _ in scope["headers"]):
        return None
    places: Places = scope["app"].state.search_places
    return None if places.has_room(_find_network(scope)) else _REFUSAL
