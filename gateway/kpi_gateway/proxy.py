"""The way of one request through the gateway: to its upstream, and the answer back."""

import asyncio

import structlog
from kpi_shared.errors import ProblemError
from starlette.types import Receive, Scope, Send

from kpi_gateway.downstream import Downstream, DownstreamGoneError, Watch
from kpi_gateway.headers import Peer, request_headers, response_headers
from kpi_gateway.metrics import UpstreamErrors
from kpi_gateway.routes import Match
from kpi_gateway.upstream import UpstreamAnswer, UpstreamClient, UpstreamError, UpstreamRequest, UpstreamTimeoutError

log = structlog.get_logger(__name__)

# RFC 9110: an answer with one of these has no content. uvicorn holds a Content-Length against the body even so.
_WITHOUT_CONTENT = frozenset({204, 304})
# RFC 9110, 10.2.2: what a Location means something in.
_WITH_LOCATION = frozenset({201, 202, *range(300, 400)})


class SlowUploadError(ProblemError):
    status = 408
    type = "slow-upload"
    title = "The request body did not arrive in time"


class Proxy:
    """Streams requests to their upstreams and answers back, each piece when the other side has taken the last.

    A scope's ``client_address`` is whom the upstream is told of.
    """

    def __init__(self, errors: UpstreamErrors) -> None:
        self._errors = errors
        self._watch = Watch()

    async def forward(
        self, match: Match, upstreams: UpstreamClient, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer the request; raises ProblemError, and only while no part of an answer has been sent."""
        route = match.route
        downstream = Downstream(receive, limit=route.body_limit, seconds=route.timeouts.total)
        reply = _Reply(send, match)
        self._watch.add(downstream)
        try:
            request = _request(match, scope, await downstream.body(scope))
            answer = await upstreams.send(request)
            try:
                await reply.relay(answer)
            finally:
                answer.close()
        except (DownstreamGoneError, ProblemError) as error:
            self._settle(error, downstream, reply)
        except asyncio.CancelledError:
            if not downstream.ended:
                raise
            _take_back_cancellation()
            self._settle(TimeoutError("It took too long"), downstream, reply)
        except Exception as error:
            if reply.begun:
                raise
            log.exception("request failed")
            raise ProblemError from error
        finally:
            self._watch.remove(downstream)

    def _settle(self, error: Exception, downstream: Downstream, reply: "_Reply") -> None:
        """Decide what becomes of an exchange that broke off."""
        if downstream.gone:
            log.info("client went away")
        elif reply.begun:
            # The server closes the connection of an answer that was not completed, by which the client sees that
            # what it has is not the whole.
            self._errors.count(reply.upstream, "broke-off")
            log.warning("answer broke off", upstream=reply.upstream, reason=_reason(error))
        elif isinstance(error, ProblemError):
            if isinstance(error, UpstreamError):
                log.warning("upstream failed", upstream=reply.upstream, reason=_reason(error))
            raise error
        elif downstream.uploading:
            raise SlowUploadError
        else:
            raise UpstreamTimeoutError


def _take_back_cancellation() -> None:
    """As asyncio.timeout does it: who ended the exchange goes on, with an answer that says so."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()


def _reason(error: Exception) -> str:
    cause = error.__cause__ or error
    return f"{type(cause).__name__}: {cause}"


def _request(match: Match, scope: Scope, body: bytes | Downstream | None) -> UpstreamRequest:
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
    )


class _Reply:
    """The answer on its way to the client."""

    __slots__ = ("_match", "_send", "begun", "upstream")

    def __init__(self, send: Send, match: Match) -> None:
        self._send = send
        self._match = match
        self.upstream = match.route.upstream
        self.begun = False

    async def relay(self, answer: UpstreamAnswer) -> None:
        headers = response_headers(answer.headers)
        if answer.status in _WITHOUT_CONTENT:
            headers = [pair for pair in headers if pair[0] != b"content-length"]
        elif answer.status in _WITH_LOCATION:
            headers = [self._readdressed(pair) for pair in headers]
        self.begun = True
        await self._send({"type": "http.response.start", "status": answer.status, "headers": headers})
        body = answer.whole()
        if body is not None:
            await self._send({"type": "http.response.body", "body": body, "more_body": False})
            return
        # The server keeps the head until a piece of the body comes, which may take a while here.
        await self._send({"type": "http.response.body", "body": b"", "more_body": True})
        async for chunk in answer.chunks():
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def _readdressed(self, header: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
        """A Location within the upstream as the client knows it: without its host, in the same address form."""
        name, value = header
        if name != b"location":
            return header
        for url in self._match.route.urls:
            value = value.removeprefix(url)
        if value.startswith(b"/") and not value.startswith(b"//"):
            return name, self._match.form + value
        return header
