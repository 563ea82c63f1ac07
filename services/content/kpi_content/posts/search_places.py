"""The places for searches and totals, so that reads by id and pages never wait for the costly ones.

All connections share PostgreSQL's processors: what keeps costly searches from delaying other requests is that few run
at once, whatever the number of connections.
"""

from collections.abc import AsyncIterator, Hashable

from fastapi import FastAPI, Request
from kpi_shared.addresses import client_address, client_network, parse_networks
from kpi_shared.caller import Subject
from kpi_shared.places import Places, Turn, register_metrics

from kpi_content.posts.errors import SearchBusyError

# The duration of a search until searches have been measured, in seconds.
_USUAL = 0.01


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
    )
    register_metrics(app.state.metrics, "search", app.state.search_places)
    yield


async def take_place(request: Request, caller: Subject | None) -> Turn:
    """A turn for a with statement; SearchBusyError if none is free in time."""
    places: Places = request.app.state.search_places
    return await places.take(_find_source(request, caller))


def _find_source(request: Request, caller: Subject | None) -> Hashable:
    """Who asks: the account, or else the client's network."""
    if caller is not None:
        return caller.id
    peer = request.client.host if request.client else ""
    forwarded = request.headers.getlist("x-forwarded-for")
    address = client_address(peer, forwarded, request.app.state.trusted_proxies)
    return client_network(address) if address is not None else None
