"""The way of one request through the gateway: to its upstream, and the answer back."""

import asyncio
import re

import structlog
from kpi_shared.errors import ProblemError
from starlette.types import Receive, Scope, Send

from kpi_gateway.downstream import Downstream, DownstreamGoneError
from kpi_gateway.headers import Peer, request_headers, response_headers
from kpi_gateway.routes import Match
from kpi_gateway.upstream import UpstreamAnswer, UpstreamClient, UpstreamError, UpstreamRequest, UpstreamTimeoutError

log = structlog.get_logger(__name__)

# RFC 9110: an answer with one of these has no content. uvicorn holds a Content-Length against the body even so.
_WITHOUT_CONTENT = frozenset({204, 304})
# RFC 9110 section 5.5: what a field's value cannot hold.
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


class SlowUploadError(ProblemError):
    status = 408
    type = "slow-upload"
    title = "The request body did not arrive in time"


class Proxy:
    """Streams requests to their upstreams and answers back, each piece when the other side has taken the last.

    ``total_timeout`` in seconds bounds a whole exchange, from the end of the request's head to the end of the answer.
    A scope's ``client_address`` is whom the upstream is told of, its ``answer_headers`` are added to the answer's.
    """

    def __init__(self, *, total_timeout: float) -> None:
        self._total_timeout = total_timeout

    async def forward(
        self, match: Match, upstreams: UpstreamClient, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer the request; raises ProblemError, and only while no part of an answer has been sent."""
        downstream = Downstream(receive)
        reply = _Reply(send, match, scope["answer_headers"])
        try:
            async with asyncio.timeout(self._total_timeout) as deadline:
                peer = Peer(scope["client_address"], scope["scheme"])
                request = _request(match, scope, await downstream.body(scope), peer)
                # Only now: until the first piece is here, the upload itself is what sees the client leave.
                downstream.watch(deadline)
                await _exchange(upstreams, request, reply)
        except (DownstreamGoneError, TimeoutError, UpstreamError) as error:
            _settle(error, downstream, reply)
        except Exception as error:
            if reply.begun or isinstance(error, ProblemError):
                raise
            log.exception("request failed")
            raise ProblemError from error
        finally:
            downstream.stop()


async def _exchange(upstreams: UpstreamClient, request: UpstreamRequest, reply: "_Reply") -> None:
    answer = await upstreams.send(request)
    try:
        await reply.relay(answer)
    finally:
        answer.close()


def _settle(error: Exception, downstream: Downstream, reply: "_Reply") -> None:
    """Decide what becomes of an exchange that broke off."""
    if downstream.gone:
        log.info("client went away")
    elif reply.begun:
        # The server closes the connection of an answer that was not completed, by which the client sees that
        # what it has is not the whole.
        log.warning("answer broke off", upstream=reply.upstream, reason=_reason(error))
    elif isinstance(error, UpstreamError):
        log.warning("upstream failed", upstream=reply.upstream, reason=_reason(error))
        raise error
    elif downstream.uploading:
        raise SlowUploadError
    else:
        raise UpstreamTimeoutError


def _reason(error: Exception) -> str:
    cause = error.__cause__ or error
    return f"{type(cause).__name__}: {cause}"


def _request(match: Match, scope: Scope, body: bytes | Downstream | None, peer: Peer) -> UpstreamRequest:
    headers = request_headers(scope["headers"], request_id=scope["request_id"], peer=peer)
    if isinstance(body, Downstream) and body.length is not None:
        headers.append(("content-length", body.length))
    query = scope["query_string"]
    target = match.path + b"?" + query if query else match.path
    return UpstreamRequest(scope["method"], match.route.url, target.decode("ascii"), headers, body)


class _Reply:
    """The answer on its way to the client."""

    def __init__(self, send: Send, match: Match, added: list[tuple[bytes, bytes]]) -> None:
        self._send = send
        self._match = match
        self._added = added
        self.upstream = match.route.upstream
        self.begun = False

    async def relay(self, answer: UpstreamAnswer) -> None:
        headers = [self._readdressed(pair) for pair in response_headers(answer.headers)]
        if answer.status in _WITHOUT_CONTENT:
            headers = [pair for pair in headers if pair[0] != b"content-length"]
        if _CONTROL.search(b"".join([value for _, value in headers])):
            # The server would refuse to write it when it is too late for another answer.
            raise UpstreamError("It sent a control character in a header")
        headers += self._added
        self.begun = True
        await self._send({"type": "http.response.start", "status": answer.status, "headers": headers})
        left = _length(headers)
        async for chunk in answer.chunks:
            left -= len(chunk)
            await self._send({"type": "http.response.body", "body": chunk, "more_body": left != 0})
        # An answer of a known length has ended with its last piece; others, and those without a body, end here.
        if left != 0:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def _readdressed(self, header: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
        """A Location within the upstream as the client knows it: without its host, in the same address form."""
        name, value = header
        if name != b"location":
            return header
        path = value.removeprefix(self._match.route.url.encode())
        if path.startswith(b"/") and not path.startswith(b"//"):
            return name, self._match.form + path
        return header


def _length(headers: list[tuple[bytes, bytes]]) -> int:
    """How long the body says it is; -1 where it does not, which no body's length counts down to 0."""
    for name, value in headers:
        if name == b"content-length":
            return int(value) or -1
    return -1
