"""The HTTP/1.1 protocol of every part: uvicorn's httptools one, with strict framing, bounds, and problem documents."""

import asyncio
import secrets
from http import HTTPStatus
from typing import Any, cast

import httptools
import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from kpi_shared.server import connections as bounds
from kpi_shared.server.connections import ConnectionLimits, Pace, watch_of
from kpi_shared.server.exchange import Exchange, refusal, scope_of
from kpi_shared.server.framing import (
    BadFramingError,
    ChunkedBody,
    check_partial,
    check_piece,
    framing_of,
    lines_of,
    what_is_wrong,
)

log = structlog.get_logger(__name__)

# What is still read, and thrown away, of a refused request, so that the answer is not lost to a reset.
_MAX_DRAINED_BYTES = 32 * 1024 * 1024
# A body is read ahead of the application up to here.
_HIGH_WATER_BYTES = 64 * 1024


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection.

    The bytes are cut into heads and bodies here, so that the parser gets each head whole and checked, and never more
    than the rest of one request. The next request is looked at when the one before has its answer, so that refusals,
    which are problem documents, stand in their place.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: ConnectionLimits | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._watch = watch_of(server_state, limits or ConnectionLimits())
        # A head that did not come in one piece.
        self._partial = bytearray()
        self._empty_lines = 0
        self._lines = 0
        self._line_end = 0
        self._fault: BadFramingError | None = None
        # Of the body: chunks, or how many bytes are still to come.
        self._chunks: ChunkedBody | None = None
        self._body_left = 0
        self._in_body = False
        self._received = 0
        # Whether ``cycle`` waits for its answer, and what came behind it meanwhile.
        self._answering = False
        self._held = b""
        self._drained: int | None = None
        self._drained_since = 0
        # When the head began, or the connection fell idle.
        self._since = 0
        self._written = 0
        self._taken = 0
        self._pace_in: Pace | None = None
        self._pace_out: Pace | None = None
        self._file = -1

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._file = transport.get_extra_info("socket").fileno()
        self._since = self._watch.now
        if not self._watch.admits(self, self._peer):
            self._turn_away()

    def _turn_away(self) -> None:
        """Answer the request that will come, and do not wait for it; the watch logs how many there were."""
        error = BadFramingError("There are too many connections", status=503, slug="too-many-connections")
        self.write(refusal(error, secrets.token_hex(16), b"retry-after: 1\r\n" + self.defaults([])))
        self.transport.close()

    @property
    def _peer(self) -> str:
        return self.client[0] if self.client else ""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 asyncio's signature
        """Tell the request that is being answered that its client is gone."""
        self._watch.forget(self, self._peer)
        self.connections.discard(self)
        self.flow.resume_writing()
        if self._answering:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._held = b""
        # The two hold each other.
        self.parser = None  # type: ignore[assignment]

    # What the client sends.

    def data_received(self, data: bytes) -> None:
        if self._drained is not None:
            self._drain(len(data))
            return
        try:
            while data:
                if self._in_body:
                    data = self._take_body(data)
                elif self._answering:
                    self._hold(data)
                    return
                else:
                    data = self._take_head(data)
        except BadFramingError as error:
            self._refuse(error)

    def _hold(self, data: bytes) -> None:
        if self.cycle.keep_alive:
            self._held += data
        if len(self._held) > _HIGH_WATER_BYTES:
            self.flow.pause_reading()

    def _take_head(self, data: bytes) -> bytes:
        """Give the parser a head once all of it is here; returns what stands behind it."""
        if self._partial:
            head, data = self._joined(data)
        else:
            # RFC 9112 section 2.2: empty lines in front of a request are of old clients.
            while data.startswith(b"\r\n"):
                data = data[2:]
                self._empty_lines += 1
                if self._empty_lines > bounds.MAX_EMPTY_LINES:
                    raise BadFramingError("There are too many empty lines in front of a request")
            end = data.find(b"\r\n\r\n") + 4
            if end == 3:  # noqa: PLR2004 find has said -1
                self._keep(data)
                return b""
            head, data = (data, b"") if end == len(data) else (data[:end], data[end:])
        if head:
            self._begin(head)
        return data

    def _keep(self, data: bytes) -> None:
        if not data:
            return
        if not self._partial and data != b"\r":
            self._since = self._watch.now
        check_piece(data, self._partial[-1] if self._partial else 0)
        self._partial += data
        check_partial(self._partial)

    def _joined(self, data: bytes) -> tuple[bytes, bytes]:
        """The head that these bytes complete, if they do, and what stands behind it."""
        before = len(self._partial)
        if self._partial == b"\r":
            # An empty line in front, in two pieces.
            self._partial.clear()
            return b"", b"\r" + data
        # The four bytes of the end may have come in two pieces.
        around = bytes(self._partial[-3:]) + data
        end = around.find(b"\r\n\r\n")
        if end < 0:
            self._keep(data)
            return b"", b""
        cut = end + 4 - min(3, before)
        self._keep(data[:cut])
        head = bytes(self._partial)
        self._partial.clear()
        return head, data[cut:]

    def _begin(self, head: bytes) -> None:
        self._empty_lines = 0
        check_partial(head)
        self._lines = lines_of(head)
        self._line_end = head.find(b"\r\n")
        self.url = b""
        self.headers = []
        try:
            self.parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            # RFC 9110 section 7.8: a server may ignore it. What follows a CONNECT is none of ours.
            self.cycle.keep_alive = False
        except httptools.HttpParserError:
            raise self._fault or what_is_wrong(head) from None

    def _take_body(self, data: bytes) -> bytes:
        cut = self._chunks.take(data) if self._chunks is not None else min(len(data), self._body_left)
        piece = data if cut == len(data) else data[:cut]
        self._body_left -= cut
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            self.cycle.keep_alive = False
        except httptools.HttpParserError:
            raise BadFramingError("The body is not valid") from None
        ended = self._chunks.done if self._chunks is not None else not self._body_left
        if ended == self._in_body:
            raise BadFramingError("The end of the body is not certain")
        return data[cut:]

    # What the parser finds.

    def on_message_begin(self) -> None:
        """Nothing: the head has been looked at."""

    def on_header(self, name: bytes, value: bytes) -> None:
        # A field after the body is a trailer: it was not there when the request was let in, so it counts for nothing.
        if not self._in_body:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        try:
            self._enter()
        except BadFramingError as error:
            # The parser turns this into an error of its own.
            self._fault = error
            raise

    def _enter(self) -> None:
        method = self.parser.get_method()
        # A line that is no header of its own is a folded one, and a request line has its three parts and two spaces.
        if len(self.headers) != self._lines - 2 or len(method) + len(self.url) + 10 != self._line_end:
            raise ValueError("not as the parser sees it")
        http_version = self.parser.get_http_version()
        framing = framing_of(self.headers, http_10=http_version == "1.0")
        exchange = Exchange(self, scope_of(self, method, http_version), expects_continue=framing.expects_continue)
        exchange.keep_alive = http_version != "1.0" and self.parser.should_keep_alive()
        self._in_body = True
        self._pace_in = None
        self._body_left = framing.length
        self._chunks = ChunkedBody() if framing.length < 0 else None
        self.cycle = cast("Any", exchange)
        self._answering = True
        exchange.task = self.loop.create_task(exchange.run(cast("Any", self.app)))
        self.tasks.add(exchange.task)

    def on_body(self, body: bytes) -> None:
        self._received += len(body)
        exchange = self.cycle
        if exchange.response_complete:
            return
        exchange.body += body
        if len(exchange.body) > _HIGH_WATER_BYTES:
            self.flow.pause_reading()
        exchange.message_event.set()

    def on_message_complete(self) -> None:
        self._in_body = False
        self.cycle.more_body = False
        self.cycle.message_event.set()

    # What is answered.

    def defaults(self, own: list[bytes]) -> bytes:
        return self._watch.defaults(self.server_state.default_headers, own)

    def write(self, data: bytes) -> None:
        self._written += len(data)
        self.transport.write(data)

    def on_answered(self, exchange: Exchange) -> None:
        """Go on with the next request, or wait for one."""
        self.server_state.total_requests += 1
        self._answering = False
        self._since = self._watch.now
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if exchange.more_body:
            self._end_after_drain()
        elif not exchange.keep_alive:
            self.transport.close()
        elif self._held:
            held, self._held = self._held, b""
            self.data_received(held)

    # What is refused.

    def _refuse(self, error: BadFramingError) -> None:
        # No application has seen the request, so it gets its id here.
        request_id = secrets.token_hex(16)
        log.warning("request refused", status=error.status, reason=error.detail, request_id=request_id)
        if self._answering and self._is_begun():
            # Into an answer that is on its way no other can be written.
            self.transport.close()
            return
        self.write(refusal(error, request_id, self.defaults([])))
        if error.status == HTTPStatus.REQUEST_TIMEOUT:
            # Nobody who is so slow is waited for.
            self.transport.close()
        else:
            self._end_after_drain()

    def _is_begun(self) -> bool:
        """Tell the application that what came of the body is not the whole; returns whether it has answered."""
        self._answering = False
        begun = self.cycle.response_started
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        return begun

    def _end_after_drain(self) -> None:
        """Say that no more comes, and read on for a while: a client that still sends would lose its answer else."""
        self._drained = 0
        self._drained_since = self._watch.now
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _drain(self, length: int) -> None:
        self._drained = (self._drained or 0) + length
        if self._drained > _MAX_DRAINED_BYTES:
            self.transport.close()

    def eof_received(self) -> None:
        if self._drained is not None:
            self.transport.close()

    # What is too slow.

    def tick(self, now: int) -> None:
        """Called once a second."""
        if self.transport.is_closing():
            # Closed, and what is still to be written is not taken.
            self._check_taking()
        elif self._drained is not None:
            self._check_draining(now)
        elif not self._check_taking():
            self._check_sending(now - self._since)

    def _check_draining(self, now: int) -> None:
        if self._check_taking() or self._written != self._taken:
            # Time is given from when the answer was taken.
            self._drained_since = now
        elif now - self._drained_since >= bounds.DRAIN_TICKS:
            bounds.reset(self.transport)

    def _check_sending(self, ticks: int) -> None:
        if self._in_body:
            self._check_body()
        elif self._partial or self.cycle is None:
            if ticks > bounds.HEAD_TICKS:
                self._end_slow_head()
        elif not self._answering and ticks > self._watch.keep_alive_ticks:
            self.transport.close()

    def _check_body(self) -> None:
        if self.flow.read_paused:
            # It is the application that is not done with the last piece.
            self._pace_in = None
            return
        self._pace_in = self._pace_in or Pace()
        if self._pace_in.is_too_slow(self._received, bounds.LEAST_BYTES):
            least = f"{bounds.LEAST_BYTES} bytes in {bounds.PACE_TICKS} seconds"
            self._refuse(BadFramingError(f"The body came by less than {least}", status=408, slug="slow-body"))

    def _end_slow_head(self) -> None:
        if self._partial:
            detail = f"The request line and headers took over {bounds.HEAD_TICKS} seconds"
            self._refuse(BadFramingError(detail, status=408, slug="slow-head"))
        else:
            # A connection that has said nothing gets no answer to nothing.
            self.transport.close()

    def _check_taking(self) -> bool:
        """End a client that does not take its answer; returns whether it was one."""
        if self._written == self._taken:
            return False
        waiting = self.transport.get_write_buffer_size()
        waiting += bounds.unacknowledged(self._file)
        if not waiting:
            self._taken = self._written
            self._pace_out = None
            return False
        self._pace_out = self._pace_out or Pace()
        if not self._pace_out.is_too_slow(self._written - waiting, waiting):
            return False
        log.info("slow reader closed", client=self._peer, waiting=waiting)
        bounds.reset(self.transport)
        return True
