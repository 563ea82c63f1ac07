"""Pure ASGI layers around an application: the request's id and time, and the size of its body."""

import re
import secrets
import time
from http import HTTPStatus

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kpi_shared.errors import PROBLEM_MEDIA_TYPE, ProblemError, problem_body, problem_response

log = structlog.get_logger(__name__)

# What a client may name its request: nothing that could forge a line or a field of a log.
_SAFE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class BodyTooLargeError(ProblemError):
    status = 413
    type = "body-too-large"
    title = "The request body is too large"


class RequestContext:
    """Gives each request an id, measures it, logs it, and answers what nobody caught with a bare 500.

    The id comes from ``X-Request-ID`` when that is safe, goes back in the same header, and stands in every
    log line of the request. ``X-Response-Time`` is in milliseconds, until the answer began.
    """

    def __init__(self, app: ASGIApp, *, access_log: bool) -> None:
        self.app = app
        self.access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        answer = _Answer(send, request_id)
        # As it was sent, still encoded: what it stands for may hold line breaks or a terminal's commands.
        path = scope["raw_path"].decode("ascii", "backslashreplace")
        try:
            await self.app(scope, receive, answer.send)
        except ClientDisconnect:
            log.debug("client left", method=scope["method"], path=path)
        except Exception:
            log.exception("request failed", method=scope["method"], path=path)
            await answer.fail()
        # A refusal is always logged: its problem document names this request, and the log must know it.
        if self.access_log or answer.status >= HTTPStatus.BAD_REQUEST:
            log.info("request", method=scope["method"], path=path, status=answer.status, ms=answer.ms)


class _Answer:
    """Watches one response on its way out and adds its headers."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self._began = time.perf_counter()
        self.status = 0
        self.ms = 0.0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            self.ms = round((time.perf_counter() - self._began) * 1000, 2)
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self._request_id
            headers["X-Response-Time"] = str(self.ms)
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


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SAFE_REQUEST_ID.fullmatch(value):
            return str(value.decode("ascii"))
    return secrets.token_hex(16)


class HeadAsGet:
    """Lets routes, which know no HEAD, answer it as GET (RFC 9110, 9.3.2); the server leaves the body out."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            # What stands around this, and the server, keep the method that the client sent.
            scope = {**scope, "method": "GET"}
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
