"""Pure ASGI middleware: request ids, response times, HEAD, and the limit of request bodies."""

import time
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus

import structlog
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kpi_shared.deadlines import ANSWERED_BY_SERVER, MORE_BODY_BYTES, OWN_PACE
from kpi_shared.errors import PROBLEM_MEDIA_TYPE, ProblemError, problem_body, problem_response
from kpi_shared.http.refusals import Answer, FindRefusal
from kpi_shared.telemetry.current_request import (
    CurrentRequest,
    choose_request_id,
    current_request,
    is_safe_request_id,
    random_id,
)
from kpi_shared.telemetry.observation import Observation
from kpi_shared.telemetry.routes import route_of
from kpi_shared.telemetry.traceparent import drop_invalid_trace_headers

log = structlog.get_logger(__name__)

_TRACE_HEADERS = frozenset({b"traceparent", b"tracestate"})


class BodyTooLargeError(ProblemError):
    status = 413
    type = "body-too-large"
    title = "The request body is too large"


class RequestContext:
    """Gives each request an id, measures and logs it, and turns uncaught exceptions into a bare 500.

    The id comes from ``X-Request-ID`` if that is safe, is returned in the same header, and is part of every log line of
    the request. Invalid trace headers are removed. ``X-Response-Time``, the latency metric and the slow request
    threshold use the same time, in milliseconds: from the end of the request head to the start of the response. How
    long a client takes to read a streamed response is not the server's time.
    """

    def __init__(self, app: ASGIApp, *, access_log: bool, observation: Observation) -> None:
        self.app = app
        self.access_log = access_log
        self._metrics = observation.metrics.requests
        self._slow_ms = observation.slow_seconds * 1000
        # A wrapper that records every request hides it, and so does a log of all requests.
        self._find_refusal: FindRefusal | None = None if access_log else getattr(app, "find_refusal", None)

    def refuse_at_once(self, scope: Scope) -> Answer | None:
        """The refusal of a request, if the application has one that needs no task. The server calls it."""
        if self._find_refusal is None:
            return None
        start = time.perf_counter()
        scope["response_headers"] = []
        refusal = self._find_refusal(scope)
        if refusal is None:
            return None
        scope["request_id"] = request_id = choose_request_id(scope["headers"])
        status, headers, body = refusal.render(scope)
        seconds = time.perf_counter() - start
        self._metrics.begin()
        self._metrics.end(route_of(scope), scope["method"], status, seconds)
        headers += scope["response_headers"]
        headers += ((b"x-request-id", request_id.encode()), (b"x-response-time", b"%.2f" % (seconds * 1000)))
        return Answer(status, headers, body)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        current = _identify(scope)
        scope["request_id"] = current.request_id
        # Headers that inner layers add to the response, whichever layer sends it.
        scope["response_headers"] = []
        current_request.set(current)
        response = _Response(send, scope, current.request_id)
        self._metrics.begin()
        try:
            await self.app(scope, receive, response.send)
        except ClientDisconnect:
            log.debug("client disconnected", method=scope["method"], path=_raw_path(scope))
        except Exception:
            log.exception("request failed", method=scope["method"], path=_raw_path(scope))
            await response.fail()
        finally:
            self._record(scope, response)

    def _record(self, scope: Scope, response: "_Response") -> None:
        route = route_of(scope)
        if answered := scope.get(ANSWERED_BY_SERVER):
            # Whatever the application did after that did not reach the client.
            response.status, response.ms = answered, response.elapsed_ms()
        ms = response.ms if response.status else response.elapsed_ms()
        self._metrics.end(route, scope["method"], response.status, ms / 1000)
        # A body that comes at its client's own pace says nothing of this service.
        if ms > self._slow_ms and OWN_PACE not in scope:
            self._log(log.warning, "slow request", scope, response, ms)
        # An error is always logged: its problem document contains the request id, which the log must contain, too.
        # Those of an overload are logged together: a line for each would add to it.
        if self.access_log or (response.status >= HTTPStatus.BAD_REQUEST and "is_overload" not in scope):
            self._log(log.info, "request", scope, response, ms)

    @staticmethod
    def _log(write: Callable[..., object], event: str, scope: Scope, response: "_Response", ms: float) -> None:
        write(
            event, method=scope["method"], path=_raw_path(scope), route=route_of(scope), status=response.status, ms=ms
        )


class _Response:
    """Notes the status and time of a response, and adds its own headers and the scope's ``response_headers``."""

    def __init__(self, send: Send, scope: Scope, request_id: str) -> None:
        self._send = send
        self._scope = scope
        self._request_id = request_id
        self._start = time.perf_counter()
        self.status = 0
        self.ms = 0.0

    def elapsed_ms(self) -> float:
        """Milliseconds since the end of the request head."""
        return round((time.perf_counter() - self._start) * 1000, 2)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            self.ms = self.elapsed_ms()
            message["headers"] = [
                *message.get("headers", ()),
                *self._scope["response_headers"],
                (b"x-request-id", self._request_id.encode()),
                (b"x-response-time", b"%.2f" % self.ms),
            ]
        await self._send(message)

    async def fail(self) -> None:
        """Send a 500 without internal details, unless a response has started."""
        if self.status:
            return
        error = ProblemError
        body = problem_body(type=error.type, title=error.title, status=error.status, detail=error.title)
        headers = [
            (b"content-type", PROBLEM_MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
        ]
        await self.send({"type": "http.response.start", "status": int(error.status), "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def _raw_path(scope: Scope) -> str:
    # Still percent-encoded: the decoded path may contain line breaks or terminal control characters.
    return str(scope["raw_path"].decode("ascii", "backslashreplace"))


def _identify(scope: Scope) -> CurrentRequest:
    """The id and the trace of the request. Removes invalid trace headers from the scope."""
    request_id = trace_id = None
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            if request_id is None and is_safe_request_id(value):
                request_id = value.decode("ascii")
        elif name in _TRACE_HEADERS and trace_id is None:
            scope["headers"], trace_id = drop_invalid_trace_headers(scope["headers"])
    # With a trace there is exactly one.
    traceparent = dict(scope["headers"])[b"traceparent"].decode("ascii") if trace_id else None
    return CurrentRequest(request_id or f"{random_id():032x}", trace_id, traceparent)


class TrailingSlash:
    """Handles a path with one slash at its end as the path without it: a redirect would lose the body of a POST."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        # The raw path: an escaped slash is a part of a segment.
        if scope["type"] == "http" and scope["raw_path"].endswith(b"/") and not scope["raw_path"].endswith(b"//"):
            scope["path"] = scope["path"][:-1] or "/"
        return self.app(scope, receive, send)


# The scope's member that says that the request, which routes see as a GET, is a HEAD.
# A member of ``openapi_extra``: the greatest size of the body of this operation, where the service's limit is too low.
MAX_BODY_BYTES = "x-max-body-bytes"
IS_HEAD = "is_head"


class HeadAsGet:
    """Handles HEAD as GET, since routes do not support it (RFC 9110, 9.3.2). The server omits the body."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            # A copy: outer layers and the server keep the method of the request.
            as_get = {**scope, "method": "GET", IS_HEAD: True}
            await self.app(as_get, receive, send)
            # Outer layers need the route for metrics and logs.
            scope["route"] = as_get.get("route")
            return
        await self.app(scope, receive, send)


class BodyLimit:
    """Responds with 413 to a request body of more than ``limit`` bytes, with or without a Content-Length.

    An operation of ``routes`` may have a greater limit, as its ``openapi_extra`` says; it sets MORE_BODY_BYTES itself.
    """

    def __init__(self, app: ASGIApp, *, limit: int, routes: Sequence[BaseRoute] = ()) -> None:
        self.app = app
        self.limit = limit
        extras = ((route, getattr(route, "openapi_extra", None) or {}) for route in routes)
        self._own_limits = [(route, int(extra[MAX_BODY_BYTES])) for route, extra in extras if MAX_BODY_BYTES in extra]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        if length.isdigit() and int(length[:20]) > self.limit and int(length[:20]) > self._own_limit(scope):
            await self._refuse(scope, receive, send)
            return
        body = _CountedBody(scope, receive, send, self.limit)
        try:
            await self.app(scope, body.receive, body.send)
        except ClientDisconnect:
            if not body.is_too_large:
                raise
        if body.is_too_large and not body.has_response:
            await self._refuse(scope, receive, send)

    def _own_limit(self, scope: Scope) -> int:
        found = (limit for route, limit in self._own_limits if route.matches(scope)[0] is Match.FULL)
        return next(found, 0)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = BodyTooLargeError(f"At most {self.limit} bytes are accepted")
        await problem_response(error)(scope, receive, send)


class _CountedBody:
    """Cuts a body off at the limit, and then suppresses the response of the application to the incomplete body."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._left = limit
        self.has_response = False

    @property
    def is_too_large(self) -> bool:
        return self._left < 0 and self._left + int(self._scope.get(MORE_BODY_BYTES, 0)) < 0

    async def receive(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        return {"type": "http.disconnect"} if self.is_too_large else message

    async def send(self, message: Message) -> None:
        if self.is_too_large and not self.has_response:
            return
        self.has_response = True
        await self._send(message)
