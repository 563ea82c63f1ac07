"""One request and its response as ASGI messages, in place of uvicorn's ``RequestResponseCycle``.

Looked at on 2026-11-27: uvicorn 0.54's cycle (it writes the head and the body separately, checks each header name and
creates an ``asyncio.Event`` for every request, and its 500 is plain text, not a problem document) and h11 0.16 (its
server serves a fifth of the requests that httptools does). See docs/adr/0018.
"""

import asyncio
from functools import lru_cache
from http import HTTPStatus
from math import inf
from time import monotonic
from typing import Any, Protocol
from urllib.parse import unquote

import structlog
from starlette.types import ASGIApp, Message, Scope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HEADER_RE, STATUS_LINE, HttpToolsProtocol

from kpi_shared.deadlines import ANSWERED_BY_SERVER, current_deadline, cut_requests
from kpi_shared.errors import PROBLEM_MEDIA_TYPE, ProblemError, UnavailableError, problem_body
from kpi_shared.server.beat import Beat
from kpi_shared.server.framing import is_plain, path_and_query
from kpi_shared.telemetry.current_request import choose_request_id

log = structlog.get_logger(__name__)

# Responses with these have no body and no framing headers (RFC 9112, 6.3).
_WITHOUT_BODY = frozenset({204, 304})

_PLAIN, _LENGTH, _CODING, _CONNECTION, _DEFAULT = range(5)
_KINDS = {b"content-length": _LENGTH, b"transfer-encoding": _CODING, b"connection": _CONNECTION} | dict.fromkeys(
    (b"date", b"x-content-type-options", b"referrer-policy", b"strict-transport-security"), _DEFAULT
)


# An application uses few distinct names. The limit keeps a hostile upstream from filling memory.
@lru_cache(maxsize=1024)
def _parse_name(name: bytes) -> tuple[bytes, int]:
    if not name or HEADER_RE.search(name):
        raise RuntimeError("Invalid HTTP header name.")
    name = name.lower()
    return name + b": ", _KINDS.get(name, _PLAIN)


def scope_of(protocol: HttpToolsProtocol, method: bytes, http_version: str) -> Scope:
    raw_path, query = path_and_query(protocol.url)
    path = raw_path.decode("ascii")
    return {
        "type": "http",
        "asgi": {"version": protocol.asgi_version, "spec_version": "2.3"},
        "http_version": http_version,
        "method": method.decode("ascii"),
        "server": protocol.server,
        "client": protocol.client,
        "scheme": protocol.scheme,
        "root_path": protocol.root_path,
        "path": unquote(path) if "%" in path else path,
        "raw_path": raw_path,
        "query_string": query,
        "headers": protocol.headers,
        "state": protocol.app_state.copy(),
    }


class Connection(Protocol):
    """The connection of an exchange: attributes of uvicorn's protocol, and how a response is written."""

    beat: Beat | None
    transport: asyncio.Transport
    flow: FlowControl
    tasks: set[asyncio.Task[None]]

    def default_headers(self, own: list[bytes]) -> bytes: ...

    def write(self, data: bytes) -> None: ...

    def on_exchange_end(self, exchange: "Exchange") -> None: ...

    def seconds_waited(self) -> float: ...


class RequestExpiredError(UnavailableError):
    """The deadline of the request has passed, also if it was not begun for that reason."""

    type = "deadline-exceeded"
    title = "The request took too long; a retry may succeed"


class Exchange:
    """One request and its response, with the attributes that uvicorn's server and protocol read from a cycle."""

    __slots__ = (
        "_connection",
        "_event",
        "_has_news",
        "_head",
        "_left",
        "body",
        "deadline",
        "disconnected",
        "expects_continue",
        "has_begun",
        "keep_alive",
        "more_body",
        "response_complete",
        "response_started",
        "scope",
        "task",
        "timeout",
        "without_body",
    )

    def __init__(self, connection: Connection, scope: Scope, *, expects_continue: bool, timeout: float) -> None:
        self._connection = connection
        self.scope = scope
        # HeadAsGet shows the application another method.
        self.without_body = scope["method"] == "HEAD"
        self.expects_continue = expects_continue
        self.keep_alive = True
        self.body = bytearray()
        self.more_body = True
        self.disconnected = False
        self.response_started = False
        self.response_complete = False
        # None as soon as nothing waits for it: it has ended, or the server has cancelled it.
        self.task: asyncio.Task[None] | None = None
        self.timeout = timeout
        self.deadline = inf
        self.has_begun = False
        # The head waits for the first part of the body, so that both are one write.
        self._head = b""
        # The number of bytes of the body that are not yet sent; None for a chunked body, -1 for one without a length.
        self._left: int | None = None
        self._has_news = False
        self._event: asyncio.Event | None = None

    @property
    def message_event(self) -> "Exchange":
        """uvicorn calls ``set()`` on this."""
        return self

    @property
    def has_head(self) -> bool:
        """Whether the response has its head, which says whether the connection ends after it."""
        return self.response_started or bool(self._head)

    def set(self) -> None:
        """Wake ``receive``: part of the body has arrived, or the client has disconnected."""
        self._has_news = True
        if self._event is not None:
            self._event.set()

    async def run(self, app: ASGIApp) -> None:
        task: Any = self.task
        try:
            beat = self._connection.beat
            if beat is None or self._begin(beat):
                await app(self.scope, self.receive, self.send)
                if not self.response_complete and not self.disconnected:
                    log.error("The application returned without completing its response")
                    self._fail()
        except BaseException as error:
            is_abandoned = self.task is None
            if not is_abandoned or not isinstance(error, asyncio.CancelledError):
                log.exception("Exception in ASGI application")
            if not is_abandoned:
                self._fail()
        finally:
            self._connection.tasks.discard(task)
            # The context of the task refers to this object.
            self.task = None

    # The deadline. See docs/adr/0030.

    def _begin(self, beat: Beat) -> bool:
        """Start the clock of a complete request; returns whether the application is to be called."""
        self.has_begun = True
        current_deadline.set(self)
        now = monotonic()
        if not self.more_body:
            self.deadline = now + self.timeout
        return (now <= beat.trusted_until and not self.disconnected) or self._is_in_time(now)

    def start_clock(self, beat: Beat) -> None:
        """The body is complete, and the application has been called already."""
        if self.response_started:
            return
        now = monotonic()
        self.deadline = now + self.timeout
        if now > beat.trusted_until and not self._is_in_time(now):
            self._cancel()

    def _is_in_time(self, now: float) -> bool:
        """Subtract how long the request has waited unread; False if the client has left or has no time left."""
        waited = inf if self.disconnected else self._connection.seconds_waited()
        if waited < self.timeout:
            if not self.more_body:
                self.deadline = now + self.timeout - waited
            return True
        self._refuse(waited)
        return False

    def _refuse(self, waited: float) -> None:
        if waited < inf:
            cut_requests["late"] += 1
            log.warning("request not begun, it came too late", seconds=waited, request_id=self._request_id())
            self.keep_alive = False
            self._answer()
            return
        cut_requests["left"] += 1
        log.info("request not begun, its client has left", request_id=self._request_id())
        if not self.disconnected:
            self._connection.transport.abort()

    def expire(self) -> None:
        """The deadline has passed: answer in place of the application, and cancel it."""
        self.deadline = inf
        if self._head:
            # The application has begun its response; only the first part of the body is missing.
            self._connection.write(self._head)
            self._head = b""
            self.response_started = True
            return
        cut_requests["expired"] += 1
        self._answer()
        self._cancel()

    def _answer(self) -> None:
        """Send a 503 in place of the application, whose messages are ignored from now on."""
        self.disconnected = True
        request_id = self._request_id()
        self.scope[ANSWERED_BY_SERVER] = HTTPStatus.SERVICE_UNAVAILABLE
        headers = [*self.scope.get("response_headers", ()), (b"x-request-id", request_id.encode())]
        self._send_problem(RequestExpiredError(), headers, instance=request_id)

    def _request_id(self) -> str:
        """The id that the application has given the request, or the one that it would give it."""
        known = self.scope.get("request_id")
        return known if isinstance(known, str) else choose_request_id(self.scope["headers"])

    def leave(self, *, cancel: bool) -> None:
        """The client has left before its response was complete."""
        self.disconnected = True
        self.set()
        if cancel and self.has_begun:
            cut_requests["cancelled"] += 1
            self._cancel()

    def _cancel(self) -> None:
        task, self.task = self.task, None
        if task is not None:
            task.cancel()

    def _fail(self) -> None:
        """Send a bare 500, or close the connection if the response has started: the client then sees that it is cut."""
        if self.response_started or self.disconnected:
            self._connection.transport.close()
            return
        self._send_problem(ProblemError(), [(b"connection", b"close")])

    def answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Send a response for which the application was not called."""
        self._start_response(status, headers)
        self._send_body(body, more_body=False)

    def _send_problem(self, error: ProblemError, more: list[tuple[bytes, bytes]], **members: str) -> None:
        body = problem_body(type=error.type, title=error.title, status=error.status, detail=error.detail, **members)
        headers = [
            (b"content-type", PROBLEM_MEDIA_TYPE.encode()),
            (b"content-length", b"%d" % len(body)),
            *((name.lower().encode(), value.encode()) for name, value in error.headers.items()),
            *more,
        ]
        self._start_response(int(error.status), headers)
        self._send_body(body, more_body=False)

    async def send(self, message: Message) -> None:
        flow = self._connection.flow
        if flow.write_paused and not self.disconnected:
            await flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if kind == "http.response.body" and (self._head or self.response_started) and not self.response_complete:
            self._send_body(message.get("body", b""), more_body=message.get("more_body", False))
        elif kind == "http.response.start" and not self._head and not self.response_started:
            self._start_response(message["status"], message.get("headers", ()))
        else:
            raise RuntimeError(f"Unexpected ASGI message {kind!r}")

    def _start_response(self, status: int, headers: Any) -> None:  # noqa: ANN401 any iterable of pairs
        self.expects_continue = False
        self._left = None
        # The connection ends if the body has not arrived completely: its rest must not be read as the next request.
        self.keep_alive = self.keep_alive and not self.more_body
        content = [STATUS_LINE[status]]
        own: list[bytes] = []
        lines = 1
        for name, value in headers:
            prefix, kind = _parse_name(name)
            if kind:
                if kind == _CODING:
                    # The server decides how the body is framed.
                    continue
                self._apply_special_header(kind, prefix, value, own)
            content += (prefix, value, b"\r\n")
            lines += 1
        head = b"".join(content)
        if not is_plain(head, lines):
            raise RuntimeError("Invalid HTTP header value.")
        self._head = head + self._connection.default_headers(own) + self._framing_lines(status, own)

    def _apply_special_header(self, kind: int, prefix: bytes, value: bytes, own: list[bytes]) -> None:
        if kind == _LENGTH:
            self._left = int(value)
        elif kind == _CONNECTION and b"close" in value.lower():
            self.keep_alive = False
            own.append(prefix)
        elif kind == _DEFAULT:
            own.append(prefix)

    def _framing_lines(self, status: int, own: list[bytes]) -> bytes:
        close = b"" if self.keep_alive or b"connection: " in own else b"connection: close\r\n"
        self.without_body = self.scope["method"] == "HEAD" or status in _WITHOUT_BODY
        if self.without_body:
            return close + b"\r\n"
        if self._left is None:
            if self.scope["http_version"] != "1.0":
                return close + b"transfer-encoding: chunked\r\n\r\n"
            # RFC 9112 section 6.1: HTTP/1.0 has no chunks, so the end of the connection ends the body.
            self.keep_alive = False
            self._left = -1
        return close + b"\r\n"

    def _send_body(self, body: bytes, *, more_body: bool) -> None:
        # A body that does not match its Content-Length raises here, which is still a 500 if nothing has been sent.
        framed = b"" if self.without_body else self._frame(body, more_body=more_body)
        data = self._head + framed if self._head else framed
        self._head = b""
        self.response_started = True
        self.deadline = inf
        if data:
            self._connection.write(data)
        if not more_body:
            self.response_complete = True
            self.set()
            self._connection.on_exchange_end(self)

    def _frame(self, body: bytes, *, more_body: bool) -> bytes:
        if self._left is None:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            return chunk if more_body else chunk + b"0\r\n\r\n"
        if self._left >= 0:
            self._left -= len(body)
            if self._left < 0:
                raise RuntimeError("Response content longer than Content-Length")
            if self._left and not more_body:
                raise RuntimeError("Response content shorter than Content-Length")
        return body

    def probe(self) -> None:
        """Send bytes without meaning, which a client that has closed its connection responds to with a reset."""
        if self.scope["http_version"] == "1.0":
            return
        if not self.response_started:
            # RFC 9110 section 15.2.1: a client discards it if it did not ask for it.
            self._connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        elif self._left is None and not self.without_body:
            # RFC 9112 section 7.1: the size of the next chunk, or of the last, may have a leading zero.
            self._connection.write(b"0")

    async def receive(self) -> Message:
        if self.expects_continue and not self._connection.transport.is_closing():
            self._connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.expects_continue = False
        if not self.disconnected and not self.response_complete:
            self._connection.flow.resume_reading()
            await self._wait_for_news()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body = bytes(self.body)
        self.body.clear()
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def _wait_for_news(self) -> None:
        if not self._has_news:
            if self._event is None:
                self._event = asyncio.Event()
            await self._event.wait()
        self._has_news = False
        if self._event is not None:
            self._event.clear()
