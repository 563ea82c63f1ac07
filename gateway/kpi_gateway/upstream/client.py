"""The upstream client: finds a connection for each request, and decides which failures are retried.

aiohttp 3.14 and httpx 0.28 were looked at: neither knows several addresses of one service, and aiohttp does not tell
what was sent when a connection broke, which decides what may be retried (ADR 20; 2026-11-27).
"""

import asyncio
from collections.abc import Mapping
from functools import partial
from types import TracebackType
from typing import Self

import structlog

from kpi_gateway.settings import GatewaySettings
from kpi_gateway.upstream.balancing import Address, Upstream
from kpi_gateway.upstream.connection import Connection, NoResponseError
from kpi_gateway.upstream.contract import (
    SAME_ELSEWHERE,
    AddressOutError,
    NotBegunError,
    UpstreamBusyError,
    UpstreamError,
    UpstreamRequest,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)
from kpi_gateway.upstream.places import Places
from kpi_gateway.upstream.rotation import Rotation
from kpi_gateway.upstream.round_trips import RoundTrip
from kpi_gateway.upstream.sending import connect, write
from kpi_gateway.upstream.streams import StreamPlaces, is_event_stream

log = structlog.get_logger(__name__)

# RFC 9110, 9.2.2: repeating such a request has no further effect.
_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})
_HTTP_INTERNAL_ERROR = 500
# Errors that another address may not have.
_SERVER_ERRORS = frozenset({500, 502, 503, 504})
_ELSEWHERE = frozenset({502, 503, 504})
# Shorter than the 65 s of the services' server, so that the gateway closes idle connections first and a request is
# hardly ever sent on one that the service is closing.
_MAX_IDLE_SECONDS = 30.0
# The interval at which late and idle connections are looked for; at most a tenth of the shortest timeout.
_SWEEP_SECONDS = 0.1
_COMPLETE_SECONDS = 1.0


class HttpClient:
    """Sends requests while it is entered; each upstream has its own limited number of requests in flight."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._timeouts = settings.timeouts
        self._rotation = Rotation(settings.upstream_probe_interval)
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
                on_suspicion=self._rotation.suspect,
            )
            for name, urls in settings.client_urls.items()
        }
        self.streams = StreamPlaces(
            settings.stream_connections,
            per_client=settings.streams_per_client,
            silence=settings.stream_silence_timeout,
        )
        self._sweeper: asyncio.TimerHandle | None = None
        self._complete_at = 0.0

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._sweep()
        self._rotation.start(self.upstreams.values())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._rotation.stop()
        for connection in self._connections():
            connection.abort(UpstreamError("The gateway is stopping"))

    async def send(self, request: UpstreamRequest) -> RoundTrip:
        """As UpstreamClient: one deadline applies to all that happens before the response begins.

        A request is repeated once: if it is idempotent, has no body and got no response (RFC 9110, 9.2.2: a server may
        close an idle connection while a request is on its way to it); if it is repeatable, then and at another address;
        and whatever it is, if the service says that it has begun nothing of it.
        """
        upstream = self.upstreams[request.upstream]
        timeouts = request.timeouts or self._timeouts
        deadline = self._loop.time() + timeouts.read
        failed: list[Address] = []
        try:
            round_trip = await self._attempt(upstream, request, failed, deadline)
        except AddressOutError:
            upstream.repeated["address-out"] += 1
        except NotBegunError:
            if not request.is_complete:
                raise
            upstream.repeated["not-begun"] += 1
        except NoResponseError:
            if not request.is_repeatable and (request.body is not None or request.method not in _IDEMPOTENT):
                raise
            upstream.repeated["no-response"] += 1
        else:
            if round_trip.status < _HTTP_INTERNAL_ERROR:
                return round_trip
            return await self._handle_error(upstream, request, failed, deadline, round_trip)
        return await self._attempt(upstream, request, failed, deadline)

    async def _handle_error(
        self, upstream: Upstream, request: UpstreamRequest, failed: list[Address], deadline: float, found: RoundTrip
    ) -> RoundTrip:
        """Repeat the request at another address if that may help; ``found`` is the response that it has."""
        if not failed or not request.is_repeatable or found.status not in _ELSEWHERE:
            return found
        if not upstream.has_other(failed[-1]) or not upstream.places.has_free(request.client):
            return found
        if not upstream.retries.take(upstream.sent):
            return found
        upstream.repeated["server-error"] += 1
        try:
            other = await self._attempt(upstream, request, failed, deadline)
        except (UpstreamError, UpstreamBusyError):
            return found
        except BaseException:
            found.close()
            raise
        found.close()
        return other

    async def _attempt(
        self, upstream: Upstream, request: UpstreamRequest, failed: list[Address], deadline: float
    ) -> RoundTrip:
        """Send it once; after a failure on a new connection, and to an address that is not among the ``failed``.

        An address that fails, or responds with a server error of its own, becomes one of these.
        """
        if request.is_stream:
            self.streams.take(request.client)
        elif not upstream.places.take_free(request.client):
            await upstream.places.wait(request.client, deadline - self._loop.time())
        address = upstream.pick(failed)
        connection = None if failed else address.take_idle()
        if connection is None:
            address, connection = await self._open_connection(upstream, address, request, deadline)
        is_new = not connection.served
        round_trip = self._start(upstream, address, connection, request, deadline, is_first=not failed)
        try:
            await round_trip.head
        except BaseException as error:
            round_trip.close()
            if isinstance(error, UpstreamError):
                failed.append(address)
                self._account_for_failure(upstream, address, error, is_new=is_new)
            raise
        address.responses += 1
        if round_trip.status < _HTTP_INTERNAL_ERROR:
            address.failures = 0
        elif round_trip.status in _SERVER_ERRORS and SAME_ELSEWHERE not in round_trip.headers:
            failed.append(address)
            upstream.note_server_error(address)
        # Most responses have been received completely by now.
        if round_trip.connection is not None and is_event_stream(round_trip.headers):
            self._become_stream(upstream, address, request, round_trip)
        return round_trip

    def _become_stream(
        self, upstream: Upstream, address: Address, request: UpstreamRequest, round_trip: RoundTrip
    ) -> None:
        """Give its place back to ordinary requests and take one of a stream; StreamsBusyError if there is none."""
        if not request.is_stream:
            try:
                self.streams.take(request.client)
            except BaseException:
                round_trip.close()
                raise
            upstream.leave(address, request.client)
            upstream.enter_stream(address)
            round_trip.on_end = partial(self._leave_stream, upstream, address, request.client)
        round_trip.become_stream(self.streams.silence)

    def _leave_stream(self, upstream: Upstream, address: Address, client: str) -> None:
        upstream.leave_stream(address)
        self.streams.give_back(client)

    async def _open_connection(
        self, upstream: Upstream, address: Address, request: UpstreamRequest, deadline: float
    ) -> tuple[Address, Connection]:
        """A connection to this address, or to the next one if it cannot be reached: nothing has been sent yet.

        Gives the place of the request back if there is none.
        """
        longest = (request.timeouts or self._timeouts).connect
        tried: list[Address] = []
        try:
            while True:
                # Of what is left of the time, each address but the last one gets a half.
                others = len(upstream.addresses) - len(tried) - 1
                left = (deadline - self._loop.time()) / (2 if others > 0 else 1)
                try:
                    return address, await connect(address, min(longest, left))
                except (OSError, TimeoutError) as error:
                    upstream.note_failure(address)
                    tried.append(address)
                    if len(tried) == len(upstream.addresses):
                        raise UpstreamUnreachableError from error
                address = upstream.pick(tried)
                if connection := address.take_idle():
                    return address, connection
        except BaseException:
            (self.streams if request.is_stream else upstream.places).give_back(request.client)
            raise

    def _start(
        self,
        upstream: Upstream,
        address: Address,
        connection: Connection,
        request: UpstreamRequest,
        deadline: float,
        *,
        is_first: bool,
    ) -> RoundTrip:
        """Begin the round trip that holds the place of ``request`` until it ends."""
        timeouts = request.timeouts or self._timeouts
        round_trip = RoundTrip(
            no_body=request.method == b"HEAD",
            deadline=deadline,
            silence=timeouts.silence,
            on_end=partial(upstream.leave, address, request.client),
            is_repeatable=is_first and request.is_repeatable,
        )
        if request.is_stream:
            upstream.enter_stream(address)
            round_trip.on_end = partial(self._leave_stream, upstream, address, request.client)
            round_trip.silence = self.streams.silence
        else:
            upstream.enter(address)
        try:
            # A streamed body's deadline begins at its end.
            seconds = deadline - self._loop.time() if request.is_complete else timeouts.read
            write(connection, round_trip, request, address.endpoint.authority, seconds)
        except BaseException:
            round_trip.close()
            raise
        return round_trip

    @staticmethod
    def _account_for_failure(upstream: Upstream, address: Address, error: UpstreamError, *, is_new: bool) -> None:
        # That an idle connection was closed says nothing about the next one; an address that is out has been judged;
        # one that stops will refuse connections.
        if isinstance(error, AddressOutError | NotBegunError) or (isinstance(error, NoResponseError) and not is_new):
            return
        upstream.note_failure(address)

    def _sweep(self) -> None:
        """Close connections that are late or were silent for too long: cheaper than a timer for each request."""
        now = self._loop.time()
        # Once a second: the streams, of which there may be many, and the log.
        is_complete = now >= self._complete_at
        for connection in self._connections():
            round_trip = connection.round_trip
            if round_trip is None:
                if now - connection.active_at > _MAX_IDLE_SECONDS:
                    connection.abort(UpstreamError())
            elif (is_complete or not round_trip.is_stream) and connection.is_overdue(round_trip, now):
                connection.abandon(UpstreamTimeoutError())
        if is_complete:
            self._complete_at = now + _COMPLETE_SECONDS
            self._log_refusals()
        self._sweeper = self._loop.call_later(self._sweep_seconds, self._sweep)

    def _log_refusals(self) -> None:
        """One line a second: a line for each request would add to the overload."""
        for upstream in self.upstreams.values():
            count = upstream.places.refused - upstream.refused_logged
            if count:
                upstream.refused_logged += count
                log.warning("requests refused", upstream=upstream.name, count=count, waiting=upstream.places.waiting)

    def addresses(self) -> list[tuple[str, Address]]:
        """Each address with the name of its upstream."""
        return [(upstream.name, address) for upstream in self.upstreams.values() for address in upstream.addresses]

    def _connections(self) -> list[Connection]:
        return [connection for _, address in self.addresses() for connection in address.open]
