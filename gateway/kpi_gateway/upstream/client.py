"""The upstream client: finds a connection for each request, and decides which failures are retried.

aiohttp 3.14 and httpx 0.28 were looked at: neither knows several addresses of one service, and aiohttp does not tell
what was sent when a connection broke, which decides what may be retried (ADR 20; 2026-11-27).
"""

import asyncio
import ssl
from collections.abc import AsyncIterable, Mapping
from contextvars import Context
from functools import partial
from types import TracebackType
from typing import Self

import structlog

from kpi_gateway.settings import GatewaySettings
from kpi_gateway.upstream.balancing import Address, Upstream
from kpi_gateway.upstream.connection import Connection, NoResponseError, RoundTrip
from kpi_gateway.upstream.contract import (
    UpstreamError,
    UpstreamRequest,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)
from kpi_gateway.upstream.places import Places

log = structlog.get_logger(__name__)

# RFC 9110, 9.2.2: repeating such a request has no further effect.
_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})
# RFC 9110, 8.6: a request with one of these has a Content-Length even without a body.
_WITH_LENGTH = frozenset({b"POST", b"PUT", b"PATCH"})
_HTTP_INTERNAL_ERROR = 500
# What an address that is out is asked for until it responds.
_PROBE = b"/health/live"
# Shorter than the 65 s of the services' server, so that the gateway closes idle connections first and a request is
# hardly ever sent on one that the service is closing.
_MAX_IDLE_SECONDS = 30.0
# The interval at which silent and idle connections are looked for; at most a tenth of the shortest timeout.
_SWEEP_SECONDS = 0.5


class HttpClient:
    """Sends requests while it is entered; each upstream has its own limited number of requests in flight."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._timeouts = settings.timeouts
        self._probe_seconds = settings.upstream_probe_interval
        shortest = min(timeouts.read for timeouts in (self._timeouts, *map(settings.timeouts_of, settings.routes)))
        self._sweep_seconds = min(_SWEEP_SECONDS, shortest / 10)
        self.upstreams: Mapping[str, Upstream] = {
            name: Upstream(
                name,
                urls,
                places=Places(
                    settings.upstream_connections,
                    per_client=settings.places_per_client,
                    patience=settings.upstream_queue_timeout,
                ),
                max_failures=settings.upstream_max_failures,
                on_out=partial(self._start_probing, name),
            )
            for name, urls in settings.upstream_urls.items()
        }
        self._tls: ssl.SSLContext | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._probes: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._sweep()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        for probe in self._probes:
            probe.cancel()
        for connection in self._connections():
            connection.abort(UpstreamError("The gateway is stopping"))

    async def send(self, request: UpstreamRequest) -> RoundTrip:
        """As UpstreamClient; a request is repeated once if it is idempotent and has no body.

        RFC 9110, 9.2.2: a server may close an idle connection while a request is on its way to it.
        """
        upstream = self.upstreams[request.upstream]
        failed: list[Address] = []
        try:
            return await self._attempt(upstream, request, failed)
        except NoResponseError:
            if request.body is not None or request.method not in _IDEMPOTENT:
                raise
        return await self._attempt(upstream, request, failed)

    async def _attempt(self, upstream: Upstream, request: UpstreamRequest, failed: list[Address]) -> RoundTrip:
        """Send it once; after a failure on a new connection, and to an address that is not among the ``failed``."""
        if not upstream.places.take_free(request.client):
            await upstream.places.wait(request.client)
        address = upstream.pick(failed)
        connection = None if failed else address.take_idle()
        if connection is None:
            address, connection = await self._open_connection(upstream, address, request)
        is_new = not connection.served
        round_trip = self._start(upstream, address, connection, request)
        try:
            await round_trip.head
        except BaseException as error:
            round_trip.close()
            if isinstance(error, UpstreamError):
                failed.append(address)
                self._account_for_failure(upstream, address, error, is_new=is_new)
            raise
        address.failures = 0
        return round_trip

    async def _open_connection(
        self, upstream: Upstream, address: Address, request: UpstreamRequest
    ) -> tuple[Address, Connection]:
        """A connection to this address, or to the next one if it cannot be reached: nothing has been sent yet.

        Gives the place of the request back if there is none.
        """
        seconds = (request.timeouts or self._timeouts).connect
        tried: list[Address] = []
        try:
            while True:
                try:
                    return address, await self._connect(address, seconds)
                except (OSError, TimeoutError) as error:
                    upstream.note_failure(address)
                    tried.append(address)
                    if len(tried) == len(upstream.addresses):
                        raise UpstreamUnreachableError from error
                address = upstream.pick(tried)
                if connection := address.take_idle():
                    return address, connection
        except BaseException:
            upstream.places.give_back(request.client)
            raise

    def _start(
        self, upstream: Upstream, address: Address, connection: Connection, request: UpstreamRequest
    ) -> RoundTrip:
        """Begin the round trip that holds the place of ``request`` until it ends."""
        round_trip = RoundTrip(
            no_body=request.method == b"HEAD",
            patience=(request.timeouts or self._timeouts).read,
            on_end=partial(upstream.leave, address, request.client),
        )
        upstream.enter(address)
        try:
            _write(connection, round_trip, request, address.endpoint.authority)
        except BaseException:
            round_trip.close()
            raise
        return round_trip

    @staticmethod
    def _account_for_failure(upstream: Upstream, address: Address, error: UpstreamError, *, is_new: bool) -> None:
        # That an idle connection was closed says nothing about the next one.
        if is_new or not isinstance(error, NoResponseError):
            upstream.note_failure(address)

    async def _connect(self, address: Address, seconds: float) -> Connection:
        endpoint = address.endpoint
        tls = self._tls_context() if endpoint.tls else None
        async with asyncio.timeout(seconds):
            _transport, connection = await self._loop.create_connection(
                partial(Connection, on_free=address.keep, on_lost=address.forget),
                endpoint.host,
                endpoint.port,
                ssl=tls,
                server_hostname=endpoint.host if tls else None,
            )
        address.open.add(connection)
        return connection

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls

    def _sweep(self) -> None:
        """Close connections that have been silent for too long: cheaper than a timer for each request."""
        now = self._loop.time()
        for connection in self._connections():
            silence = now - connection.active_at
            round_trip = connection.round_trip
            if round_trip is None:
                if silence > _MAX_IDLE_SECONDS:
                    connection.abort(UpstreamError())
            elif silence > round_trip.patience and connection.is_waiting_for_upstream:
                connection.abandon(UpstreamTimeoutError())
        self._sweeper = self._loop.call_later(self._sweep_seconds, self._sweep)

    def addresses(self) -> list[tuple[str, Address]]:
        """Each address with the name of its upstream."""
        return [(upstream.name, address) for upstream in self.upstreams.values() for address in upstream.addresses]

    def _connections(self) -> list[Connection]:
        return [connection for _, address in self.addresses() for connection in address.open]

    def _start_probing(self, name: str, address: Address) -> None:
        # An empty context: its log lines belong to no request, including the one that failed.
        probe = asyncio.create_task(self._probe(self.upstreams[name], address), context=Context())
        self._probes.add(probe)
        probe.add_done_callback(self._probes.discard)

    async def _probe(self, upstream: Upstream, address: Address) -> None:
        while address.is_out:
            await asyncio.sleep(self._probe_seconds)
            try:
                async with asyncio.timeout(self._probe_seconds):
                    is_alive = await self._is_alive(address)
            except (OSError, TimeoutError, UpstreamError):
                continue
            except Exception:
                # Whatever the error: without a probe the address would never come back.
                log.exception("upstream address could not be probed", upstream=upstream.name, address=address.url)
                continue
            if is_alive:
                upstream.restore(address)

    async def _is_alive(self, address: Address) -> bool:
        """Whether it responds without a server error; 404 is enough."""
        request = UpstreamRequest(b"GET", "", _PROBE, [])
        connection = await self._connect(address, self._probe_seconds)
        round_trip = RoundTrip(no_body=False, patience=self._probe_seconds, on_end=_do_nothing)
        try:
            _write(connection, round_trip, request, address.endpoint.authority)
            await round_trip.head
            return round_trip.status < _HTTP_INTERNAL_ERROR
        finally:
            round_trip.close()


def _do_nothing() -> None:
    pass


def _write(connection: Connection, round_trip: RoundTrip, request: UpstreamRequest, authority: bytes) -> None:
    body = request.body
    if isinstance(body, bytes) or body is None:
        framing = b"content-length: %d\r\n" % len(body or b"") if body or request.method in _WITH_LENGTH else b""
        connection.begin(round_trip, _head(request, authority, framing) + (body or b""))
        return
    framing = b"transfer-encoding: chunked\r\n"
    if request.length is not None:
        framing = b"content-length: " + request.length + b"\r\n"
    round_trip.is_sent = False
    connection.begin(round_trip, _head(request, authority, framing))
    round_trip.upload = asyncio.create_task(_upload(connection, round_trip, body, chunked=request.length is None))


def _head(request: UpstreamRequest, authority: bytes, framing: bytes) -> bytes:
    head = [request.method, b" ", request.target, b" HTTP/1.1\r\nhost: ", authority, b"\r\n"]
    for name, value in request.headers:
        head += (name, b": ", value, b"\r\n")
    head += (framing, b"\r\n")
    return b"".join(head)


async def _upload(connection: Connection, round_trip: RoundTrip, body: AsyncIterable[bytes], *, chunked: bool) -> None:
    try:
        async for piece in body:
            await connection.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            await connection.write(b"0\r\n\r\n")
        round_trip.is_sent = True
    except Exception as error:  # noqa: BLE001 every error must reach the task that waits for the response
        if connection.round_trip is round_trip:
            connection.abort(error)
