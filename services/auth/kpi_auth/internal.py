"""The internal port: a listener of its own, on which the gateway exchanges API keys, and other parts read the feed.

It is separate from the port that the gateway forwards to, so that no row of a route table can lead there, and a network
policy can close it to all but the other parts. It proves its callers with INTERNAL_KEY (the gateway) and FEED_KEY
(those that read the feed), not with the tokens' key; each key opens its own paths only, and
reports the keys of its own part only.
"""

import asyncio
import contextlib
import hmac
import signal
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial
from types import FrameType
from typing import Any

import structlog
import uvicorn
from fastapi import FastAPI
from kpi_shared.database import install_database_handlers
from kpi_shared.errors import UnauthenticatedError, install_error_handlers, problem_response
from kpi_shared.http.middleware import BodyLimit, RequestContext
from kpi_shared.server.options import uvicorn_options
from kpi_shared.server.serving import Server
from kpi_shared.settings import SettingsError
from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import HANDLED_SIGNALS

from kpi_auth.accounts.internal_endpoints import router as accounts
from kpi_auth.api_keys.internal_endpoints import router as api_keys
from kpi_auth.events.feed import Feed
from kpi_auth.events.internal_endpoints import router as events
from kpi_auth.settings import AuthSettings
from kpi_auth.token_keys.errors import install_key_handlers
from kpi_auth.token_keys.internal_endpoints import router as token_keys
from kpi_auth.token_keys.service import FOLLOWERS, GATEWAY

log = structlog.get_logger(__name__)

# A report of 1,000 uses and 1,000 refusals, with the longest numbers and addresses.
_MAX_BODY_BYTES = 256 * 1024
_BACKLOG = 2048
_OPENED_BY = {"/internal/feed/": FOLLOWERS, "/internal/api-keys/": GATEWAY}


def create_internal_app(app: FastAPI) -> FastAPI:
    """The application of the internal port, with the state of the service's own."""
    internal = FastAPI(
        openapi_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    internal.state = app.state
    for router in (api_keys, events, accounts, token_keys):
        internal.include_router(router)
    install_error_handlers(internal)
    install_database_handlers(internal)
    install_key_handlers(internal)
    internal.add_middleware(BodyLimit, limit=_MAX_BODY_BYTES)
    internal.add_middleware(_InternalKeys, settings=app.state.settings)
    internal.add_middleware(RequestContext, access_log=app.state.settings.debug, observation=app.state.observation)
    return internal


async def internal_port(app: FastAPI) -> AsyncIterator[None]:
    """Listen while the service runs; without INTERNAL_PORT and INTERNAL_KEY there is no such port."""
    settings: AuthSettings = app.state.settings
    if not settings.internal_port or settings.internal_key is None:
        yield
        return
    listener = _listen(settings.internal_host, settings.internal_port)
    options = uvicorn_options(
        lifespan="off", timeout_graceful_shutdown=settings.shutdown_seconds, **settings.server_options
    )
    server = _Server(uvicorn.Config(create_internal_app(app), **options), app.state.feed)
    task = asyncio.create_task(server.serve(sockets=[listener]), name="internal port")
    task.add_done_callback(partial(_end_process, server))
    log.info("internal port served", host=settings.internal_host, port=settings.internal_port)
    try:
        yield
    finally:
        server.should_exit = True
        await asyncio.wait({task})
        listener.close()


class UnknownPeerError(UnauthenticatedError):
    """Not the type of a wrong API key: this is an error of the installation, not of a client."""

    type = "internal-key-required"
    title = "The internal port needs INTERNAL_KEY, or for the feed FEED_KEY, as a Bearer token"


class _InternalKeys:
    """Refuses a request without the key of its path before anything reads its body."""

    def __init__(self, app: ASGIApp, *, settings: AuthSettings) -> None:
        self.app = app
        readers = (settings.feed_key, *settings.feed_previous_keys)
        self._keys = [*_texts_of(GATEWAY, settings.internal_key), *_texts_of(FOLLOWERS, *readers)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            peer = self._find_peer(scope["path"], Headers(scope=scope))
            if peer is None:
                await problem_response(UnknownPeerError())(scope, receive, send)
                return
            # For endpoints that several parts call: request.state.peer.
            scope.setdefault("state", {})["peer"] = peer
        await self.app(scope, receive, send)

    def _find_peer(self, path: str, headers: Headers) -> str | None:
        """The peer that has the given key, unless the path is another one's. Other paths open to all that have one."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        fits = [peer for key, peer in self._keys if hmac.compare_digest(given.encode(), key)]
        if scheme.lower() != "bearer" or not fits:
            return None
        owner = next((part for prefix, part in _OPENED_BY.items() if path.startswith(prefix)), fits[0])
        return owner if owner in fits else None


def _texts_of(peer: str, *keys: SecretStr | None) -> list[tuple[bytes, str]]:
    return [(key.get_secret_value().encode(), peer) for key in keys if key is not None]


def _end_process(server: Server, task: asyncio.Task[None]) -> None:
    """Stop the process if its internal port has ended alone: it is restarted with one."""
    if not server.should_exit and not task.cancelled():
        log.error("internal port ended", exc_info=task.exception())
        signal.raise_signal(signal.SIGTERM)


class _Server(Server):
    """Ends when the process's own server does: at the same signals, or else with its lifespan."""

    def __init__(self, config: uvicorn.Config, feed: Feed) -> None:
        super().__init__(config)
        self._feed = feed

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As the base class, which waits for all responses, and streams have no end of their own."""
        self._feed.end_streams()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handlers = {each: signal.getsignal(each) for each in HANDLED_SIGNALS}
        for each, handler in handlers.items():
            signal.signal(each, partial(self._exit_too, handler))
        try:
            yield
        finally:
            for each, handler in handlers.items():
                signal.signal(each, handler)

    def _exit_too(self, handler: Any, number: int, frame: FrameType | None) -> None:  # noqa: ANN401 of the signal module
        self.should_exit = True
        if callable(handler):
            handler(number, frame)


def _listen(host: str, port: int) -> socket.socket:
    """Workers of one part share the port: the kernel gives each connection to one of them."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise SettingsError(f"INTERNAL_PORT: cannot listen on {host}:{port}: {error.strerror}") from None
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener
