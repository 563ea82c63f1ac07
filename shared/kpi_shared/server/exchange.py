"""One request and its answer, as ASGI sees them: uvicorn's cycle, with fewer writes and less work for each."""

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import structlog
from starlette.types import ASGIApp, Message, Scope
from uvicorn.protocols.http.httptools_impl import HEADER_RE, STATUS_LINE

from kpi_shared.errors import PROBLEM_MEDIA_TYPE, ProblemError, problem_body
from kpi_shared.server.framing import BadFramingError, is_plain, path_and_query

if TYPE_CHECKING:
    from kpi_shared.server.protocol import BoundedHttpProtocol

log = structlog.get_logger(__name__)

# Answers with these have no body, and no framing of one (RFC 9112, 6.3).
_WITHOUT_BODY = frozenset({204, 304})

_PLAIN, _LENGTH, _CODING, _CONNECTION, _DEFAULT = range(5)
_KINDS = {b"content-length": _LENGTH, b"transfer-encoding": _CODING, b"connection": _CONNECTION} | dict.fromkeys(
    (b"date", b"x-content-type-options", b"referrer-policy", b"strict-transport-security"), _DEFAULT
)


# An application has few distinct names; the bound keeps a hostile upstream from growing it.
@lru_cache(maxsize=1024)
def _field(name: bytes) -> tuple[bytes, int]:
    if not name or HEADER_RE.search(name):
        raise RuntimeError("Invalid HTTP header name.")
    name = name.lower()
    return name + b": ", _KINDS.get(name, _PLAIN)


def refusal(error: BadFramingError, request_id: str, more: bytes) -> bytes:
    """The whole answer to what no application gets to see; ``more`` are further headers."""
    title = STATUS_LINE[error.status].split(b" ", 2)[2].strip().decode("ascii")
    body = problem_body(type=error.slug, title=title, status=error.status, detail=error.detail, instance=request_id)
    headers = {"content-type": PROBLEM_MEDIA_TYPE, "content-length": len(body), "x-request-id": request_id}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("ascii")
    return STATUS_LINE[error.status] + head + more + b"connection: close\r\n\r\n" + body


def scope_of(protocol: "BoundedHttpProtocol", method: bytes, http_version: str) -> Scope:
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


class Exchange:
    """Has the attributes of uvicorn's RequestResponseCycle that its server and protocol look at."""

    __slots__ = (
        "_event",
        "_head",
        "_left",
        "_news",
        "_protocol",
        "body",
        "disconnected",
        "expects_continue",
        "keep_alive",
        "more_body",
        "response_complete",
        "response_started",
        "scope",
        "task",
        "without_body",
    )

    def __init__(self, protocol: "BoundedHttpProtocol", scope: Scope, *, expects_continue: bool) -> None:
        self._protocol = protocol
        self.scope = scope
        # The application may be shown another method.
        self.without_body = scope["method"] == "HEAD"
        self.expects_continue = expects_continue
        self.keep_alive = True
        self.body = bytearray()
        self.more_body = True
        self.disconnected = False
        self.response_started = False
        self.response_complete = False
        self.task: asyncio.Task[None] | None = None
        # The head waits for the first piece of the body, and leaves with it in one write.
        self._head = b""
        # What is missing of the body; None where it comes in chunks.
        self._left: int | None = None
        self._news = False
        self._event: asyncio.Event | None = None

    @property
    def message_event(self) -> "Exchange":
        """What uvicorn calls ``set()`` on."""
        return self

    def set(self) -> None:
        """Something has happened that ``receive`` tells of."""
        self._news = True
        if self._event is not None:
            self._event.set()

    async def run(self, app: ASGIApp) -> None:
        try:
            await app(self.scope, self.receive, self.send)
            if not self.response_complete and not self.disconnected:
                log.error("The application returned without completing its answer")
                self._fail()
        except BaseException:
            log.exception("Exception in ASGI application")
            self._fail()
        finally:
            self._protocol.tasks.discard(cast("asyncio.Task[None]", self.task))

    def _fail(self) -> None:
        """A bare 500, unless the answer is on its way: then it is cut off, by which the client sees it."""
        if self.response_started or self.disconnected:
            self._protocol.transport.close()
            return
        error = ProblemError
        body = problem_body(type=error.type, title=error.title, status=error.status, detail=error.title)
        headers = [
            (b"content-type", PROBLEM_MEDIA_TYPE.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        self._begin(500, headers)
        self._continue(body, more_body=False)

    async def send(self, message: Message) -> None:
        flow = self._protocol.flow
        if flow.write_paused and not self.disconnected:
            await flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if kind == "http.response.body" and (self._head or self.response_started) and not self.response_complete:
            self._continue(message.get("body", b""), more_body=message.get("more_body", False))
        elif kind == "http.response.start" and not self._head and not self.response_started:
            self._begin(message["status"], message.get("headers", ()))
        else:
            raise RuntimeError(f"Unexpected ASGI message {kind!r}")

    def _begin(self, status: int, headers: Any) -> None:  # noqa: ANN401 any iterable of pairs
        self.expects_continue = False
        self._left = None
        # A client that still sends is not waited for, and may not take the rest of its body for a request.
        self.keep_alive = self.keep_alive and not self.more_body
        content = [STATUS_LINE[status]]
        own: list[bytes] = []
        lines = 1
        for name, value in headers:
            prefix, kind = _field(name)
            if kind:
                if kind == _CODING:
                    # How the body is framed is decided here.
                    continue
                self._note(kind, prefix, value, own)
            content += (prefix, value, b"\r\n")
            lines += 1
        head = b"".join(content)
        if not is_plain(head, lines):
            raise RuntimeError("Invalid HTTP header value.")
        self._head = head + self._protocol.defaults(own) + self._framing(status, own)

    def _note(self, kind: int, prefix: bytes, value: bytes, own: list[bytes]) -> None:
        if kind == _LENGTH:
            self._left = int(value)
        elif kind == _CONNECTION and b"close" in value.lower():
            self.keep_alive = False
            own.append(prefix)
        elif kind == _DEFAULT:
            own.append(prefix)

    def _framing(self, status: int, own: list[bytes]) -> bytes:
        close = b"" if self.keep_alive or b"connection: " in own else b"connection: close\r\n"
        self.without_body = self.scope["method"] == "HEAD" or status in _WITHOUT_BODY
        if self.without_body:
            return close + b"\r\n"
        if self._left is None:
            if self.scope["http_version"] != "1.0":
                return close + b"transfer-encoding: chunked\r\n\r\n"
            # RFC 9112 section 6.1: HTTP/1.0 knows no chunks; the end of the connection is that of the body.
            self.keep_alive = False
            self._left = -1
        return close + b"\r\n"

    def _continue(self, body: bytes, *, more_body: bool) -> None:
        # What does not fit the length raises here, and is still a 500 if nothing has been sent.
        framed = b"" if self.without_body else self._framed(body, more_body=more_body)
        data = self._head + framed if self._head else framed
        self._head = b""
        self.response_started = True
        if data:
            self._protocol.write(data)
        if not more_body:
            self.response_complete = True
            self.set()
            self._protocol.on_answered(self)

    def _framed(self, body: bytes, *, more_body: bool) -> bytes:
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

    async def receive(self) -> Message:
        if self.expects_continue and not self._protocol.transport.is_closing():
            self._protocol.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.expects_continue = False
        if not self.disconnected and not self.response_complete:
            self._protocol.flow.resume_reading()
            await self._wait()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body = bytes(self.body)
        self.body.clear()
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def _wait(self) -> None:
        if not self._news:
            if self._event is None:
                self._event = asyncio.Event()
            await self._event.wait()
        self._news = False
        if self._event is not None:
            self._event.clear()
