"""The HTTP/1.1 protocol of every part: uvicorn's httptools one, with a bounded head and problem documents."""

import asyncio
import gc
import secrets
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from kpi_shared.errors import PROBLEM_MEDIA_TYPE, problem_body

log = structlog.get_logger(__name__)

# The request line and all headers together. nginx takes 32 KiB by default, browsers send less than 10.
MAX_HEAD_BYTES = 64 * 1024
# How long a head may take, from the connection's first moment or from its own first byte.
_HEAD_SECONDS = 10.0
# What is still read, and thrown away, of a refused request, so that the answer is not lost to a reset.
_MAX_DRAINED_BYTES = 32 * 1024 * 1024
_DRAIN_SECONDS = 5.0


class BoundedHttpProtocol(HttpToolsProtocol):
    """Answers 431 to a head over MAX_HEAD_BYTES and 400 to bytes that are no HTTP, both as problems."""

    _head_bytes = 0
    _in_head = True
    _head_begun = False
    _head_too_large = False
    _head_deadline: asyncio.TimerHandle | None = None
    # What came after the head and was no body: the framing of chunks, and trailers.
    _trailer_bytes = 0
    _drained: int | None = None
    _running: RequestResponseCycle | None = None

    def data_received(self, data: bytes) -> None:
        if self._drained is not None:
            self._drain(len(data))
            return
        if self._in_head:
            self._head_bytes += len(data)
        else:
            self._trailer_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES and self._drained is None:
            self._refuse(431, "head-too-large", f"The request line and headers have over {MAX_HEAD_BYTES} bytes")
        if not self._in_head and self._trailer_bytes > MAX_HEAD_BYTES:
            # Nothing of it was body, and the request is being answered already.
            self.transport.close()
        if self._in_head and self._head_begun and self._head_deadline is None and not self.transport.is_closing():
            # Only a head that does not come in one piece gets here.
            self._head_deadline = self.loop.call_later(_HEAD_SECONDS, self._end_slow_head)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_deadline = self.loop.call_later(_HEAD_SECONDS, self._end_slow_head)

    def _cancel_head_deadline(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _end_slow_head(self) -> None:
        self._head_deadline = None
        if not self._in_head or self._drained is not None:
            return
        answering = self._running is not None and not self._running.response_complete
        if self._head_begun and not answering:
            self._refuse(408, "slow-head", f"The request line and headers took over {_HEAD_SECONDS:g} seconds")
        elif answering or self.cycle is None:
            # Into an answer that is on its way no other can be written, and a connection that has said nothing
            # gets no answer to nothing.
            self.transport.close()

    def on_message_begin(self) -> None:
        self._head_begun = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        # A field after the body is a trailer: it was not there when the request was let in, so it counts for nothing.
        if self._in_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        self._trailer_bytes = 0
        super().on_body(body)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._trailer_bytes = 0
        self._cancel_head_deadline()
        if sum(len(name) + len(value) for name, value in self.headers) + len(self.url) > MAX_HEAD_BYTES:
            # The parser turns this into its own error, which ends in send_400_response below.
            self._head_too_large = True
            raise ValueError("head too large")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head = True
        self._head_begun = False
        self._head_bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        if self._head_too_large:
            self._refuse(431, "head-too-large", f"The request line and headers have over {MAX_HEAD_BYTES} bytes")
        else:
            self._refuse(400, "bad-request", msg)

    def _refuse(self, status: int, slug: str, detail: str) -> None:
        title = STATUS_LINE[status].split(b" ", 2)[2].strip().decode("ascii")
        # No application has seen the request, so it gets its id here.
        request_id = secrets.token_hex(16)
        log.warning("request refused", status=status, reason=detail, request_id=request_id)
        body = problem_body(type=slug, title=title, status=status, detail=detail, instance=request_id)
        headers = {"content-type": PROBLEM_MEDIA_TYPE, "content-length": len(body), "x-request-id": request_id}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "connection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head.encode("ascii") + body)
        self._drained = 0
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_DRAIN_SECONDS, self.transport.close)

    def _drain(self, length: int) -> None:
        assert self._drained is not None  # noqa: S101 data_received has asked
        self._drained += length
        if self._drained > _MAX_DRAINED_BYTES:
            self.transport.close()

    def eof_received(self) -> None:
        if self._drained is not None:
            self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:  # noqa: ANN401 as uvicorn has it
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that is being answered; uvicorn tells the one that was parsed last.

        With pipelined requests these differ, and the first would go on, and fail, on a closed connection.
        """
        self._cancel_head_deadline()
        super().connection_lost(exc)
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()


def spare_the_collector() -> None:
    """Take what is there now out of the garbage collector's sight: it stays until the process ends.

    Otherwise each full collection looks at all modules again, and stops every request for some 100 ms.
    """
    gc.collect()
    gc.freeze()


def uvicorn_options(**more: Any) -> dict[str, Any]:  # noqa: ANN401 they are uvicorn's own
    """How every part runs under uvicorn."""
    return {
        "loop": "uvloop",
        "http": BoundedHttpProtocol,
        "ws": "none",
        "lifespan": "on",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        # A service trusts the token and never a forwarding header; the gateway sets its own.
        "proxy_headers": False,
        "timeout_keep_alive": 65,
        "timeout_graceful_shutdown": 3,
        **more,
    }
