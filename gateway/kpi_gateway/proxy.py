"""Forwards one request to its upstream, and relays the response to the client."""

import asyncio

import structlog
from kpi_shared.deadlines import LASTS, READ_TOO_SLOWLY
from kpi_shared.errors import ProblemError
from starlette.types import Receive, Scope, Send

from kpi_gateway.downstream import (
    Downstream,
    DownstreamGoneError,
    SlowUploadError,
    StreamedUpload,
    Ticker,
    is_streamed_upload,
)
from kpi_gateway.headers import Peer, request_headers, response_headers
from kpi_gateway.metrics import StreamCuts, UpstreamErrors
from kpi_gateway.routes import Match
from kpi_gateway.settings import GatewaySettings
from kpi_gateway.upstream.contract import (
    SAME_ELSEWHERE,
    UpstreamClient,
    UpstreamError,
    UpstreamRequest,
    UpstreamResponse,
    UpstreamTimeoutError,
)

log = structlog.get_logger(__name__)

# RFC 9110: a response with one of these has no content. The server compares a Content-Length with the body even so.
_WITHOUT_CONTENT = frozenset({204, 304})
# RFC 9110, 9.2.1: a request with one of these has no effects, so it may be repeated at another address.
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
# Errors after which a retry may help.
_RETRIABLE = frozenset({502, 503, 504})
_RETRY_AFTER = (b"retry-after", b"1")
# RFC 9110, 10.2.2: the statuses for which Location has a meaning. In an error it names what has been created all the
# same, such as an upload that was interrupted.
_WITH_LOCATION = frozenset({201, 202, *range(300, 600)})


class Proxy:
    """Streams request bodies to upstreams and responses back, each piece when the other side has taken the last one.

    A scope's ``client_address`` is what the upstream is told about the client.
    """

    def __init__(self, settings: GatewaySettings, errors: UpstreamErrors, cuts: StreamCuts) -> None:
        self.errors = errors
        self._cuts = cuts
        self._silence = settings.stream_silence_timeout
        self._stream_limit = settings.stream_body_limit
        self._ticker = Ticker()
        self._streams: set[UpstreamResponse] = set()
        self._is_stopping = False

    async def forward(
        self, match: Match, upstreams: UpstreamClient, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Send the response; raises ProblemError, and only while no part of a response has been sent."""
        route = match.route
        downstream = (
            StreamedUpload(receive, limit=self._stream_limit, silence=self._silence)
            if route.streams_bodies and scope["query_string"] and is_streamed_upload(scope)
            else Downstream(receive, limit=route.body_limit, seconds=route.timeouts.total)
        )
        relay = _Relay(scope, send, match)
        self._ticker.add(downstream)
        try:
            request = _upstream_request(match, scope, await downstream.body(scope))
            response = await upstreams.send(request)
            try:
                await (self._relay_stream(response, downstream, relay) if response.is_stream else relay.send(response))
            finally:
                response.close()
        except (DownstreamGoneError, ProblemError) as error:
            self._handle_failure(error, downstream, relay)
        except asyncio.CancelledError:
            if not downstream.is_cancelled:
                raise
            _uncancel()
            self._handle_failure(TimeoutError("It took too long"), downstream, relay)
        except Exception as error:
            if relay.has_begun:
                raise
            log.exception("request failed")
            raise ProblemError from error
        finally:
            self._ticker.remove(downstream)

    async def _relay_stream(self, response: UpstreamResponse, downstream: Downstream, relay: "_Relay") -> None:
        """For as long as both sides take part."""
        if not downstream.is_uploading:
            self._ticker.release(downstream)
        downstream.become_stream()
        relay.scope[LASTS] = True
        self._streams.add(response)
        if self._is_stopping:
            response.end()
        try:
            await relay.send(response)
        finally:
            self._streams.discard(response)

    def end_streams(self) -> None:
        """The server stops: clients resume elsewhere."""
        self._is_stopping = True
        for response in self._streams:
            response.end()

    def _handle_failure(self, error: Exception, downstream: Downstream, relay: "_Relay") -> None:
        """Log a request that broke off, and raise the problem to respond with if a response is still possible."""
        if downstream.is_stream and (reason := _reason_of_cut(error, downstream, relay)):
            self._cuts.count(reason)
        if downstream.is_gone:
            log.info("client disconnected")
        elif relay.has_begun:
            # The server closes the connection of an incomplete response, from which the client sees that it is
            # incomplete.
            self.errors.count(relay.upstream, "broke-off")
            log.warning("response broke off", upstream=relay.upstream, reason=_reason(error))
        elif isinstance(error, ProblemError):
            if isinstance(error, UpstreamError):
                log.warning("upstream failed", upstream=relay.upstream, reason=_reason(error))
            raise error
        elif downstream.is_uploading:
            raise SlowUploadError
        else:
            raise UpstreamTimeoutError


def _reason_of_cut(error: Exception, downstream: Downstream, relay: "_Relay") -> str | None:
    """Why the gateway ended a stream, or None if another did."""
    if downstream.is_gone:
        return "slow-reader" if READ_TOO_SLOWLY in relay.scope else None
    if downstream.is_cancelled:
        return "silent-client"
    return "silent-upstream" if isinstance(error, UpstreamTimeoutError) else None


def _uncancel() -> None:
    """As asyncio.timeout does it: the task that was cancelled continues, and responds with the reason."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()


def _reason(error: Exception) -> str:
    cause = error.__cause__ or error
    return f"{type(cause).__name__}: {cause}"


def _upstream_request(match: Match, scope: Scope, body: bytes | Downstream | None) -> UpstreamRequest:
    peer = Peer(scope["client_address"], scope["scheme"])
    headers = request_headers(scope["headers"], request_id=scope["request_id"], peer=peer)
    query = scope["query_string"]
    return UpstreamRequest(
        scope["method"].encode(),
        match.route.upstream,
        match.path + b"?" + query if query else match.path,
        headers,
        body,
        body.length if isinstance(body, Downstream) else None,
        match.route.timeouts,
        scope["client_network"],
        body is None and scope["method"] in _SAFE and not match.route.has_effects,
        isinstance(body, StreamedUpload),
    )


class _Relay:
    """Sends an upstream's response to the client."""

    __slots__ = ("_match", "_send", "has_begun", "scope", "upstream")

    def __init__(self, scope: Scope, send: Send, match: Match) -> None:
        self.scope = scope
        self._send = send
        self._match = match
        self.upstream = match.route.upstream
        self.has_begun = False

    async def send(self, response: UpstreamResponse) -> None:
        headers = response_headers(response.headers)
        if response.status in _WITHOUT_CONTENT:
            headers = [pair for pair in headers if pair[0] != b"content-length"]
        elif response.status in _WITH_LOCATION:
            headers = [self._rewrite_location(pair) for pair in headers]
        if response.status in _RETRIABLE:
            if not any(name == _RETRY_AFTER[0] for name, _ in headers):
                headers.append(_RETRY_AFTER)
            if SAME_ELSEWHERE in response.headers:
                # The service counts and logs its refusals.
                self.scope["is_overload"] = True
        self.has_begun = True
        await self._send({"type": "http.response.start", "status": response.status, "headers": headers})
        body = response.complete_body()
        if body is not None:
            await self._send({"type": "http.response.body", "body": body, "more_body": False})
            return
        # The server sends the head with the first piece of the body, which may take a while here.
        await self._send({"type": "http.response.body", "body": b"", "more_body": True})
        async for chunk in response.chunks():
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def _rewrite_location(self, header: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
        """A Location within the upstream as the client knows it: without its host, with the same prefix."""
        name, value = header
        if name != b"location":
            return header
        for url in self._match.route.urls:
            value = value.removeprefix(url)
        if value.startswith(b"/") and not value.startswith(b"//"):
            return name, self._match.form + value
        return header
