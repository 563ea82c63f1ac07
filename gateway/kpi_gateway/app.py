"""The gateway as one ASGI application: the proxy, and a FastAPI application for its own pages."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

from fastapi import FastAPI, Request
from kpi_shared.addresses import parse_networks
from kpi_shared.errors import ProblemError, install_error_handlers, problem_response
from kpi_shared.health import health_router
from kpi_shared.http.compression import Compression
from kpi_shared.http.middleware import HeadAsGet, RequestContext
from kpi_shared.http.openapi import describe_tags, install_openapi, operation_id
from kpi_shared.http.refusals import Refusal
from kpi_shared.places import Places
from kpi_shared.product import PRODUCT
from kpi_shared.server.options import ON_STOP, freeze_garbage_collector
from kpi_shared.telemetry.logging import configure_logging
from kpi_shared.telemetry.observation import Observation
from starlette.responses import Response
from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send

from kpi_gateway import __version__
from kpi_gateway.client_addresses import Client, ClientAddresses
from kpi_gateway.cors import Cors
from kpi_gateway.costly import CostlyPlaces, give_back_at_start
from kpi_gateway.credentials.presented import FIELDS, find_key
from kpi_gateway.credentials.renewal import RenewingClient
from kpi_gateway.credentials.service import Credentials, KeyedRequest
from kpi_gateway.documents.cache import DocumentCache
from kpi_gateway.documents.pages import pages_router
from kpi_gateway.health import can_serve, upstream_checks
from kpi_gateway.limits.keys import KeyLimits, LimitedRequest
from kpi_gateway.limits.service import Decision, RateLimits
from kpi_gateway.metrics import (
    StreamCuts,
    UpstreamErrors,
    register_addresses,
    register_costly,
    register_keys,
    register_limits,
    register_places,
    register_retries,
    register_streams,
)
from kpi_gateway.paths import check_target
from kpi_gateway.proxy import Proxy
from kpi_gateway.refusals import BUSY
from kpi_gateway.routes import UNLIMITED, Match, RouteTable
from kpi_gateway.settings import GatewaySettings
from kpi_gateway.token_keys import find_tokens, following_keys
from kpi_gateway.upstream.balancing import Upstream
from kpi_gateway.upstream.client import HttpClient
from kpi_gateway.upstream.contract import UpstreamBusyError, UpstreamClient, UpstreamError

# Creates the client in the lifespan and closes it there; tests pass another one.
ClientFactory = Callable[[GatewaySettings], AbstractAsyncContextManager[HttpClient]]
# Services know of Authorization only, and caches of no other field that is a credential.
_VARY_BY_KEY = (b"vary", b"X-API-Key, Octopus-API-Key")


def create_app(settings: GatewaySettings | None = None, *, client: ClientFactory = HttpClient) -> ASGIApp:
    settings = settings or GatewaySettings.load()
    configure_logging(part=settings.part.program, level=settings.log_level, form=settings.log_format)
    table = RouteTable.of(settings)
    limits = RateLimits.of(settings)
    credentials = Credentials(settings, KeyLimits(limits) if limits is not None else None)
    observation = Observation(settings, version=__version__)
    costly = CostlyPlaces(settings, table)
    register_costly(observation.metrics, costly.by_upstream)
    behind = Behind(costly)
    proxy = Proxy(settings, UpstreamErrors(observation.metrics), StreamCuts(observation.metrics))
    pages = create_pages(settings, table, _create_lifespan(settings, client, observation, limits, credentials, behind))
    pages.state.on_stop = [proxy.end_streams]
    gateway = Gateway(
        table,
        pages=pages,
        addresses=ClientAddresses(parse_networks(settings.trusted_proxies)),
        admission=Admission(limits, credentials, costly),
        proxy=proxy,
        behind=behind,
    )
    app = observation.trace(Cors(gateway, origins=settings.allowed_origins))
    return RequestContext(app, access_log=settings.debug, observation=observation)


# The scope's member that says that the request has been located, and that there is room for it.
_LOCATED = "located"
# A tunnel and an echo of the request (RFC 9110, 9.3.6 and 9.3.8), which an API does not offer.
_UNSUPPORTED_METHODS = frozenset({"CONNECT", "TRACE"})


class UnsupportedMethodError(ProblemError):
    status = 501
    type = "method-not-supported"
    title = "The gateway does not support this method"


class Admission(NamedTuple):
    """What decides whether a request is forwarded."""

    limits: RateLimits | None
    credentials: Credentials
    costly: CostlyPlaces


class Located(NamedTuple):
    """Where a request goes, and from whom. ``costly`` are the places that it needs if it is a costly one."""

    path: bytes
    match: Match | None
    client: Client
    costly: Places | None


class Behind:
    """What the lifespan makes for the requests: each look-up in the state of the pages would be a call."""

    __slots__ = ("_costly", "client", "upstreams")

    client: UpstreamClient
    upstreams: Mapping[str, Upstream]

    def __init__(self, costly: CostlyPlaces) -> None:
        self._costly = tuple(costly.by_upstream.values())

    @property
    def is_crowded(self) -> bool:
        """Whether any request waits for a place."""
        for upstream in self.upstreams.values():
            if upstream.places.has_line:
                return True
        for places in self._costly:  # noqa: SIM110 any() takes longer, and this is done for each request
            if places.waiting:
                return True
        return False


class Gateway:
    """Dispatches each request to its upstream or to the gateway's own pages.

    It is not part of FastAPI's router, so that a forwarded request passes none of its layers.
    """

    def __init__(
        self,
        table: RouteTable,
        *,
        pages: FastAPI,
        addresses: ClientAddresses,
        admission: Admission,
        proxy: Proxy,
        behind: Behind,
    ) -> None:
        self._table = table
        self._proxy = proxy
        self._pages = pages
        self._addresses = addresses
        self._limits, self._credentials, self._costly = admission
        self._errors = proxy.errors
        self._behind = behind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._pages(scope, receive, send)
            return
        try:
            await self._dispatch(scope, receive, send)
        except UpstreamBusyError:
            self._errors.count(scope["route"].upstream, UpstreamBusyError.type)
            await BUSY.send(scope, send)
        except ProblemError as error:
            if isinstance(error, UpstreamError):
                self._errors.count(scope["route"].upstream, error.type)
            await problem_response(error)(scope, receive, send)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, match, client, costly = scope.get(_LOCATED) or self._locate(scope)
        if match is not None and _LOCATED not in scope and self._is_refused(match.route.upstream, client, costly):
            # Before its limits: while there are too many requests, each refusal takes time from the others.
            await BUSY.send(scope, send)
            return
        keyed = None
        if match is not None or not path.startswith(UNLIMITED):
            presented = [pair for pair in scope["headers"] if pair[0] in FIELDS]
            if presented and (key := find_key(presented)) is not None:
                match, keyed = await self._exchange_key(key, client, match, scope)
            elif self._limits is not None:
                decision = self._limits.decide(
                    client.network, match and match.limit, scope["method"], presented, client.site
                )
                if not isinstance(decision, Decision):
                    decision = await decision
                scope["response_headers"] += _headers_or_raise(decision)
        if match is None:
            _forgive_slash(path, scope)
            await self._pages(scope, receive, send)
        elif costly is None:
            await self._proxy.forward(match, keyed or self._behind.client, scope, receive, send)
        else:
            await self._forward_costly(match, costly, scope, receive, send)

    def find_refusal(self, scope: Scope) -> Refusal | None:
        """The refusal of a request for which there is no place, before anything else is done for it."""
        if not self._behind.is_crowded:
            return None
        try:
            located = self._locate(scope)
        except ProblemError:
            return None
        scope[_LOCATED] = located
        match = located.match
        if match is None or not self._is_refused(match.route.upstream, located.client, located.costly):
            return None
        return BUSY

    def _locate(self, scope: Scope) -> Located:
        if scope["method"] in _UNSUPPORTED_METHODS:
            raise UnsupportedMethodError
        path = check_target(scope["raw_path"], scope["query_string"])
        match = self._table.match(path, scope["method"])
        scope["route"] = match and match.route
        client = self._addresses.find(scope)
        scope["client_address"], scope["client_network"], _ = client
        costly = self._costly.find(match, scope) if match is not None and scope["query_string"] else None
        return Located(path, match, client, costly)

    async def _forward_costly(self, match: Match, places: Places, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        with await places.take(scope["client_network"]) as turn:
            match = match.take_time(time.monotonic() - began)
            send = give_back_at_start(turn, send)
            await self._proxy.forward(match, self._behind.client, scope, receive, send)

    def _is_refused(self, name: str, client: Client, costly: Places | None) -> bool:
        upstream = self._behind.upstreams.get(name)
        if upstream is None:
            return False
        network = client.network
        if not upstream.places.refuses(network) and (costly is None or costly.has_room(network)):
            return False
        self._errors.count(name, UpstreamBusyError.type)
        return True

    async def _exchange_key(
        self, key: bytes, client: Client, match: Match | None, scope: Scope
    ) -> tuple[Match | None, UpstreamClient | None]:
        """Put a token in place of the key, and take the time of the exchange off that of the route."""
        limited = LimitedRequest(client.network, client.site, match and match.limit, scope["method"])
        keyed = KeyedRequest(key, client.address, limited)
        accepted = await self._credentials.accept(keyed)
        scope["headers"] = accepted.replace_in(scope["headers"])
        scope["response_headers"] += (*accepted.headers, _VARY_BY_KEY)
        if match is None:
            return None, None
        match = match.take_time(accepted.seconds)
        return match, RenewingClient(self._behind.client, self._credentials, keyed, match.route.timeouts)


def _forgive_slash(path: bytes, scope: Scope) -> None:
    """With a slash at its end, an address is the same page."""
    if path.endswith(b"/") and not path.endswith(b"//"):
        scope["path"] = scope["path"][:-1] or "/"


def _headers_or_raise(decision: Decision) -> list[tuple[bytes, bytes]]:
    if decision.error is not None:
        raise decision.error
    return decision.headers


def _create_lifespan(
    settings: GatewaySettings,
    client: ClientFactory,
    observation: Observation,
    limits: RateLimits | None,
    credentials: Credentials,
    behind: Behind,
) -> Lifespan[FastAPI]:
    @asynccontextmanager
    async def lifespan(pages: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(observation.running())
            if limits is not None:
                stack.push_async_callback(limits.close)
                register_limits(observation.metrics, limits.decision_counts)
                await limits.start()
            upstreams = await stack.enter_async_context(client(settings))
            register_addresses(observation.metrics, upstreams.addresses)
            register_places(observation.metrics, upstreams.upstreams)
            register_retries(observation.metrics, upstreams.upstreams)
            register_streams(observation.metrics, upstreams.streams)
            pages.state.by_name = behind.upstreams = upstreams.upstreams
            pages.state.upstreams = behind.client = _add_tracing(upstreams, observation)
            register_keys(observation.metrics, credentials.counts, credentials.exchange_counts)
            await stack.enter_async_context(credentials.running(behind.client))
            if (tokens := find_tokens(settings, limits)) is not None:
                keys = following_keys(settings, tokens, observation.metrics, behind.client, credentials.memory)
                await stack.enter_async_context(keys)
            freeze_garbage_collector()
            yield {ON_STOP: pages.state.on_stop}

    return lifespan


_TAGS = {"gateway": "The gateway itself", "health": "Whether the gateway and the services behind it work"}


def create_pages(settings: GatewaySettings, table: RouteTable, lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """The gateway's own pages. Without a ``lifespan`` they can only describe themselves."""
    pages = FastAPI(
        title=PRODUCT,
        version=__version__,
        lifespan=lifespan,
        # The document and its page cover all parts, so the framework's own are switched off.
        openapi_url=None,
        openapi_tags=describe_tags(_TAGS),
        # Redirects would be built from the Host header that the client sent.
        redirect_slashes=False,
        generate_unique_id_function=operation_id,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    pages.include_router(pages_router(DocumentCache(pages, table)))
    checks = upstream_checks(pages, table)
    pages.include_router(health_router(settings, version=__version__, checks=checks, is_ready=can_serve))
    install_openapi(pages)
    # The services compress their responses themselves.
    pages.add_middleware(Compression, remembered=16)
    pages.add_middleware(HeadAsGet)
    install_error_handlers(pages)
    pages.add_exception_handler(Exception, _handle_unexpected)
    return pages


def _add_tracing(client: UpstreamClient, observation: Observation) -> UpstreamClient:
    if observation.tracing is None:
        return client
    # It imports packages that only those who export traces need.
    from kpi_gateway.upstream.tracing import TracedClient  # noqa: PLC0415

    return TracedClient(client, observation.tracing)


async def _handle_unexpected(_request: Request, _error: Exception) -> Response:
    """The response to an uncaught error; the framework raises it again afterwards, so that it is logged."""
    return problem_response(ProblemError())
