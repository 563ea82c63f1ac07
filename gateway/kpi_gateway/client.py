"""The upstream client: finds a connection for each request, and decides which failures are tried again."""

import asyncio
import ssl
from collections.abc import AsyncIterable, Mapping
from contextvars import Context
from functools import partial
from types import TracebackType
from typing import Self

import structlog

from kpi_gateway.balancing import Address, Upstream
from kpi_gateway.connection import Connection, Exchange, NoAnswerError
from kpi_gateway.places import Places
from kpi_gateway.settings import GatewaySettings
from kpi_gateway.upstream import (
    UpstreamError,
    UpstreamRequest,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)

log = structlog.get_logger(__name__)

# RFC 9110, 9.2.2: doing it twice is doing it once.
_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})
# RFC 9110, 8.6: with these a request without a body says so.
_WITH_LENGTH = frozenset({b"POST", b"PUT", b"PATCH"})
_HTTP_INTERNAL_ERROR = 500
# What an address that is out is asked until it answers.
_PROBE = b"/health/live"
# Shorter than the 65 s of the services' server, so that the gateway is the one to end an idle connection and
# a request is hardly ever sent into one that is just being closed.
_LONGEST_KEEP_ALIVE = 30.0
# How often silent and idle connections are looked for, at most; never less often than a tenth of the shortest timeout.
_SWEEP_SECONDS = 0.5


class HttpClient:
    """Sends requests while it is entered; each upstream has its own bounded share of requests in flight."""

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
                on_out=partial(self._begin_probing, name),
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

    async def send(self, request: UpstreamRequest) -> Exchange:
        """As UpstreamClient has it; a request is repeated once, where it is idempotent and has no body.

        RFC 9110, 9.2.2: a server may close an idle connection just when a request is under way to it.
        """
        upstream = self.upstreams[request.upstream]
        failed: list[Address] = []
        try:
            return await self._attempt(upstream, request, failed)
        except NoAnswerError:
            if request.body is not None or request.method not in _IDEMPOTENT:
                raise
        return await self._attempt(upstream, request, failed)

    async def _attempt(self, upstream: Upstream, request: UpstreamRequest, failed: list[Address]) -> Exchange:
        """Send it once, on a new connection and to another address if there are ``failed`` ones; adds to these."""
        timeouts = request.timeouts or self._timeouts
        client = request.client
        if not upstream.places.take_free(client):
            await upstream.places.wait(client)
        address = upstream.pick(failed)
        connection = None if failed else address.take_idle()
        if connection is None:
            try:
                address, connection = await self._connected(upstream, address, timeouts.connect)
            except BaseException:
                upstream.places.give_back(client)
                raise
        exchange = Exchange(
            no_body=request.method == b"HEAD", patience=timeouts.read, on_end=partial(upstream.leave, address, client)
        )
        upstream.enter(address)
        was_new = not connection.served
        try:
            self._begin(connection, exchange, request, address.endpoint.authority)
            await exchange.head
        except UpstreamError as error:
            failed.append(address)
            # An idle connection that is closed says nothing of the next one.
            if was_new or not isinstance(error, NoAnswerError):
                upstream.failed(address)
            exchange.close()
            raise
        except BaseException:
            exchange.close()
            raise
        address.failures = 0
        return exchange

    async def _connected(self, upstream: Upstream, address: Address, seconds: float) -> tuple[Address, Connection]:
        """A connection to this address or, while none comes about, to the next one: nothing has been sent yet."""
        tried: list[Address] = []
        while True:
            try:
                return address, await self._connect(address, seconds)
            except (OSError, TimeoutError) as error:
                upstream.failed(address)
                tried.append(address)
                if len(tried) == len(upstream.addresses):
                    raise UpstreamUnreachableError from error
            address = upstream.pick(tried)
            if connection := address.take_idle():
                return address, connection

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

    def _begin(self, connection: Connection, exchange: Exchange, request: UpstreamRequest, authority: bytes) -> None:
        body = request.body
        if isinstance(body, bytes) or body is None:
            framing = b"content-length: %d\r\n" % len(body or b"") if body or request.method in _WITH_LENGTH else b""
            connection.begin(exchange, _head(request, authority, framing) + (body or b""))
            return
        framing = b"transfer-encoding: chunked\r\n"
        if request.length is not None:
            framing = b"content-length: " + request.length + b"\r\n"
        exchange.sent = False
        connection.begin(exchange, _head(request, authority, framing))
        exchange.upload = asyncio.create_task(_upload(connection, exchange, body, chunked=request.length is None))

    # What happens between requests.

    def _sweep(self) -> None:
        """Ends what has been silent for too long: cheaper than a timer for each request."""
        now = self._loop.time()
        for connection in self._connections():
            silence = now - connection.active_at
            exchange = connection.exchange
            if exchange is None:
                if silence > _LONGEST_KEEP_ALIVE:
                    connection.abort(UpstreamError())
            elif silence > exchange.patience and connection.waits_for_the_upstream:
                connection.abort(UpstreamTimeoutError())
        self._sweeper = self._loop.call_later(self._sweep_seconds, self._sweep)

    def addresses(self) -> list[tuple[str, Address]]:
        """Each address with the name of its upstream."""
        return [(upstream.name, address) for upstream in self.upstreams.values() for address in upstream.addresses]

    def _connections(self) -> list[Connection]:
        return [connection for _, address in self.addresses() for connection in address.open]

    def _begin_probing(self, name: str, address: Address) -> None:
        # What it logs is of no request, whichever one it was that failed.
        probe = asyncio.create_task(self._probe(self.upstreams[name], address), context=Context())
        self._probes.add(probe)
        probe.add_done_callback(self._probes.discard)

    async def _probe(self, upstream: Upstream, address: Address) -> None:
        while address.is_out:
            await asyncio.sleep(self._probe_seconds)
            try:
                async with asyncio.timeout(self._probe_seconds):
                    alive = await self._is_alive(address)
            except (OSError, TimeoutError, UpstreamError):
                continue
            except Exception:
                # Whatever it is, without a probe the address would stay out for ever.
                log.exception("upstream address could not be probed", upstream=upstream.name, address=address.url)
                continue
            if alive:
                upstream.back(address)

    async def _is_alive(self, address: Address) -> bool:
        """Whether it answers, be it that it knows no such page."""
        request = UpstreamRequest(b"GET", "", _PROBE, [])
        connection = await self._connect(address, self._probe_seconds)
        exchange = Exchange(no_body=False, patience=self._probe_seconds, on_end=_nothing)
        try:
            self._begin(connection, exchange, request, address.endpoint.authority)
            await exchange.head
            return exchange.status < _HTTP_INTERNAL_ERROR
        finally:
            exchange.close()


def _nothing() -> None:
    pass


def _head(request: UpstreamRequest, authority: bytes, framing: bytes) -> bytes:
    head = [request.method, b" ", request.target, b" HTTP/1.1\r\nhost: ", authority, b"\r\n"]
    for name, value in request.headers:
        head += (name, b": ", value, b"\r\n")
    head += (framing, b"\r\n")
    return b"".join(head)


async def _upload(connection: Connection, exchange: Exchange, body: AsyncIterable[bytes], *, chunked: bool) -> None:
    try:
        async for piece in body:
            await connection.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            await connection.write(b"0\r\n\r\n")
        exchange.sent = True
    except Exception as error:  # noqa: BLE001 whatever it is, it belongs to whoever waits for the answer
        if connection.exchange is exchange:
            connection.abort(error)
