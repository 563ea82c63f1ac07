"""Pure ASGI layers around an application: the request's id and time, and the size of its body."""

import random
import re
import time
from collections.abc import Callable
from functools import partial
from http import HTTPStatus

import structlog
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kpi_shared.errors import PROBLEM_MEDIA_TYPE, ProblemError, problem_body, problem_response
from kpi_shared.telemetry.current_request import CurrentRequest, current_request
from kpi_shared.telemetry.observation import Observation, route_of
from kpi_shared.telemetry.traceparent import without_garbage

log = structlog.get_logger(__name__)

# What a client may name its request: nothing that could forge a line or a field of a log.
_SAFE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
# A request's id need not be hard to guess, and the system's generator costs ten times as much.
_random = partial(random.Random().getrandbits, 128)  # noqa: S311
_TRACE_HEADERS = frozenset({b"traceparent", b"tracestate"})


class BodyTooLargeError(ProblemError):
    status = 413
    type = "body-too-large"
    title = "The request body is too large"


class RequestContext:
    """Gives each request an id, measures it, logs it, and answers what nobody caught with a bare 500.

    The id comes from ``X-Request-ID`` when that is safe, goes back in the same header, and stands in every
    log line of the request. Trace headers that are not valid go no further. ``X-Response-Time``, the latency that is
    counted and what makes a request slow are one time, in milliseconds: from the end of the request's head until the
    answer began. How long a client takes to read what is streamed says nothing of the server.
    """

    def __init__(self, app: ASGIApp, *, access_log: bool, observation: Observation) -> None:
        self.app = app
        self.access_log = access_log
        self._metrics = observation.metrics.requests
        self._slow_ms = observation.slow_seconds * 1000

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        mark = _mark(scope)
        scope["request_id"] = mark.request_id
        # What inner layers want every answer to say, whoever gives it.
        scope["response_headers"] = []
        current_request.set(mark)
        answer = _Answer(send, scope, mark.request_id)
        self._metrics.begin()
        try:
            await self.app(scope, receive, answer.send)
        except ClientDisconnect:
            log.debug("client left", method=scope["method"], path=_path(scope))
        except Exception:
            log.exception("request failed", method=scope["method"], path=_path(scope))
            await answer.fail()
        finally:
            self._note(scope, answer)

    def _note(self, scope: Scope, answer: "_Answer") -> None:
        route = route_of(scope)
        ms = answer.ms if answer.status else answer.elapsed()
        self._metrics.end(route, scope["method"], answer.status, ms / 1000)
        if ms > self._slow_ms:
            self._log(log.warning, "slow request", scope, answer, ms)
        # A refusal is always logged: its problem document names this request, and the log must know it.
        if self.access_log or answer.status >= HTTPStatus.BAD_REQUEST:
            self._log(log.info, "request", scope, answer, ms)

    @staticmethod
    def _log(write: Callable[..., object], event: str, scope: Scope, answer: "_Answer", ms: float) -> None:
        write(event, method=scope["method"], path=_path(scope), route=route_of(scope), status=answer.status, ms=ms)


class _Answer:
    """Watches one response on its way out and adds its headers, and those of the scope's ``response_headers``."""

    def __init__(self, send: Send, scope: Scope, request_id: str) -> None:
        self._send = send
        self._scope = scope
        self._request_id = request_id
        self._began = time.perf_counter()
        self.status = 0
        self.ms = 0.0

    def elapsed(self) -> float:
        """Milliseconds since the request's head was complete."""
        return round((time.perf_counter() - self._began) * 1000, 2)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            self.ms = self.elapsed()
            message["headers"] = [
                *message.get("headers", ()),
                *self._scope["response_headers"],
                (b"x-request-id", self._request_id.encode()),
                (b"x-response-time", b"%.2f" % self.ms),
            ]
        await self._send(message)

    async def fail(self) -> None:
        """A 500 that says nothing of the inside, unless an answer is already on its way."""
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


def _path(scope: Scope) -> str:
    # As it was sent, still encoded: what it stands for may hold line breaks or a terminal's commands.
    return str(scope["raw_path"].decode("ascii", "backslashreplace"))


def _mark(scope: Scope) -> CurrentRequest:
    """The request's id and trace; takes trace headers that are not valid out of the scope."""
    request_id = trace_id = None
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            if request_id is None and _SAFE_REQUEST_ID.fullmatch(value):
                request_id = value.decode("ascii")
        elif name in _TRACE_HEADERS and trace_id is None:
            scope["headers"], trace_id = without_garbage(scope["headers"])
    return CurrentRequest(request_id or f"{_random():032x}", trace_id)


class HeadAsGet:
    """Lets routes, which know no HEAD, answer it as GET (RFC 9110, 9.3.2); the server leaves the body out."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            # What stands around this, and the server, keep the method that the client sent.
            read = {**scope, "method": "GET"}
            await self.app(read, receive, send)
            # What is counted and logged outside is the route that it had.
            scope["route"] = read.get("route")
            return
        await self.app(scope, receive, send)


class BodyLimit:
    """Refuses a request body over ``limit`` bytes with 413, whether or not it says its length."""

    def __init__(self, app: ASGIApp, *, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        if length.isdigit() and int(length[:20]) > self.limit:
            await self._refuse(scope, receive, send)
            return
        body = _CountedBody(receive, send, self.limit)
        try:
            await self.app(scope, body.receive, body.send)
        except ClientDisconnect:
            if not body.too_large:
                raise
        if body.too_large and not body.answered:
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = BodyTooLargeError(f"At most {self.limit} bytes are taken")
        await problem_response(error)(scope, receive, send)


class _CountedBody:
    """Cuts a body off at the limit, and then holds back what the application says to the cut."""

    def __init__(self, receive: Receive, send: Send, limit: int) -> None:
        self._receive = receive
        self._send = send
        self._left = limit
        self.answered = False

    @property
    def too_large(self) -> bool:
        return self._left < 0

    async def receive(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        return {"type": "http.disconnect"} if self.too_large else message

    async def send(self, message: Message) -> None:
        if self.too_large and not self.answered:
            return
        self.answered = True
        await self._send(message)
