"""The HTTP/1.1 protocol of every part: uvicorn's httptools protocol with strict framing, limits and problem documents.

Looked at on 2026-11-27: uvicorn 0.54 with httptools 0.9 (it passes bytes to the parser unchecked, parses pipelined
requests ahead of their responses, and refuses in plain text) and with h11 0.16 (stricter, at a fifth of the speed). See
docs/adr/0018.
"""

import asyncio
import secrets
import socket
from http import HTTPStatus
from math import inf
from typing import Any, cast

import structlog
from uvicorn.config import Config
from uvicorn.server import ServerState

from kpi_shared.deadlines import LASTS, OWN_PACE, READ_TOO_SLOWLY
from kpi_shared.http.refusals import Answer
from kpi_shared.server import connections as bounds
from kpi_shared.server import refusals
from kpi_shared.server.beat import seconds_waited
from kpi_shared.server.connections import ConnectionLimits, Pace, limit_unsent, reset
from kpi_shared.server.ending import EndingProtocol
from kpi_shared.server.exchange import Exchange, scope_of
from kpi_shared.server.framing import BadFramingError, ChunkedBody, framing_of
from kpi_shared.server.reading import HIGH_WATER_BYTES
from kpi_shared.server.refusals import RefusalHeaders

log = structlog.get_logger(__name__)

# How much of a refused request is still read and discarded, so that a reset does not lose the response.
_MAX_DRAINED_BYTES = 32 * 1024 * 1024
# How many requests of a connection are refused at once before others have their turn.
REFUSED_IN_A_ROW = 20
# After this time most clients that have left have answered with a reset; the others are found at the next tick.
_PROBED_SECONDS = 0.1


class BoundedHttpProtocol(EndingProtocol):
    """One connection.

    A pipelined request is parsed after the response to the previous one, so that a refusal,
    which is a problem document, is sent in order.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: ConnectionLimits | None = None,
        refusal_headers: RefusalHeaders | None = None,
        request_timeout: float | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop, limits or ConnectionLimits())
        self._refusal_headers = refusal_headers
        self._request_timeout = request_timeout or inf
        self.beat = self._watch.start_beat() if request_timeout else None
        # Over the limits of connections: it is refused when its first bytes arrive, or at the next tick.
        self._is_excess = False
        self.start_outflow()
        self._pace_in: Pace | None = None
        self._file = -1
        # What an application refuses at once needs no task; see RequestContext.
        self._refuse_at_once = getattr(self.app, "refuse_at_once", None)
        self._answer: Answer | None = None
        self._is_answering = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._file = transport.get_extra_info("socket").fileno()
        limit_unsent(transport)
        self._since = self._watch.now
        if self._watch.admit(self, self._peer):
            if self._watch.is_stopping:
                self.shutdown()
        elif self._refusal_headers is not None and self._watch.keep_for_refusal(self):
            self._is_excess = True
            self._drained = 0
        else:
            self._turn_away(b"")

    def _turn_away(self, data: bytes) -> None:
        """Send a 503. The watch logs the number of refused connections."""
        self._is_excess = False
        headers = b"retry-after: 1\r\n" + self._headers_of_refusal(data)
        self.write(refusals.render_refusal(refusals.too_many_connections(), secrets.token_hex(16), headers))
        self.transport.close()

    @property
    def _peer(self) -> str:
        return self.client[0] if self.client else ""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 asyncio's signature
        """Tell the exchange in progress, if any, that its client has disconnected."""
        self._watch.forget(self, self._peer)
        self.connections.discard(self)
        self.flow.resume_writing()
        if self._responding:
            cast("Exchange", self.cycle).leave(cancel=self.beat is not None)
        self._held = b""
        # The parser refers to this object, and this object to the parser.
        self.parser = None  # type: ignore[assignment]

    # Data from the client.

    def data_received(self, data: bytes) -> None:
        if self._drained is not None:
            self._drain(data)
            return
        refused = 0
        try:
            while data:
                if self._in_body:
                    data = self._take_body(data)
                elif self._responding:
                    self._hold(data)
                    return
                else:
                    data = self._take_head(data)
                    if self._answer is not None:
                        refused += 1
                        if not self._send_answer() or (refused == REFUSED_IN_A_ROW and self._give_way(data)):
                            return
        except BadFramingError as error:
            self._refuse(error, data)

    def _send_answer(self) -> bool:
        """Returns whether the connection stays open."""
        answer, self._answer = self._answer, None
        self._is_answering = True
        cast("Exchange", self.cycle).answer(*cast("Answer", answer))
        self._is_answering = False
        return not self.transport.is_closing()

    # Callbacks of the parser.

    def on_headers_complete(self) -> None:
        try:
            self._start_exchange()
        except BadFramingError as error:
            # The parser replaces this exception with its own.
            self._fault = error
            raise

    def _start_exchange(self) -> None:
        method = self.parser.get_method()
        # Fewer headers than lines means a folded line. The request line is method, target, version and two spaces.
        if len(self.headers) != self._lines - 2 or len(method) + len(self.url) + 10 != self._line_end:
            raise ValueError("the parser reads the head differently")
        http_version = self.parser.get_http_version()
        framing = framing_of(self.headers, http_10=http_version == "1.0")
        exchange = Exchange(
            self,
            scope_of(self, method, http_version),
            expects_continue=framing.expects_continue,
            timeout=self._request_timeout if framing.timeout is None else framing.timeout,
        )
        exchange.keep_alive = http_version != "1.0" and self.parser.should_keep_alive() and not self._is_stopping
        self._in_body = True
        self._pace_in = None
        self._body_left = framing.length
        self._chunks = ChunkedBody() if framing.length < 0 else None
        # Annotated names cost nothing, as each cast() does.
        cycle: Any = exchange
        app: Any = self.app
        self.cycle = cycle
        self._responding = True
        # Not for a body, which would have to be read, nor for a client that does not read its responses.
        if self._refuse_at_once is not None and not framing.length and not self.flow.write_paused:
            self._answer = self._refuse_at_once(exchange.scope)
            if self._answer is not None:
                return
        exchange.task = task = self.loop.create_task(exchange.run(app))
        self.tasks.add(task)

    def on_body(self, body: bytes) -> None:
        self._received += len(body)
        exchange = self.cycle
        if exchange.response_complete:
            return
        exchange.body += body
        if len(exchange.body) > HIGH_WATER_BYTES:
            self.flow.pause_reading()
        exchange.message_event.set()

    def on_message_complete(self) -> None:
        self._in_body = False
        exchange: Any = self.cycle
        exchange.more_body = False
        exchange.message_event.set()
        if self.beat is not None and exchange.has_begun:
            exchange.start_clock(self.beat)

    # The response.

    def default_headers(self, own: list[bytes]) -> bytes:
        return self._watch.default_headers(self.server_state.default_headers, own)

    def on_exchange_end(self, exchange: Exchange) -> None:
        """Continue with the next request, or wait for one."""
        self.server_state.total_requests += 1
        self._responding = False
        self._since = self._watch.now
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if exchange.more_body:
            self._end_after_drain()
        elif not exchange.keep_alive:
            self.transport.close()
        elif not self._is_answering:
            # Otherwise ``data_received`` is about to do that.
            self._take_held()
            if self._is_stopping:
                # Its response had already promised that the connection stays.
                self._end_when_idle()

    def expire(self, now: float) -> None:
        """Called on every beat."""
        exchange: Any = self.cycle
        if exchange is not None and exchange.deadline <= now:
            exchange.expire()

    def seconds_waited(self) -> float:
        return seconds_waited(self.transport.get_extra_info("socket"))

    # Refusals.

    def _refuse(self, error: BadFramingError, data: bytes = b"") -> None:
        """Send a problem document and close; ``data`` was received and not yet kept."""
        # The request does not reach the middleware, so it gets its id here.
        request_id = secrets.token_hex(16)
        log.warning("request refused", status=error.status, reason=error.detail, request_id=request_id)
        if self._responding and self._abandon_exchange():
            # A second response cannot be written into one that has started.
            self.transport.close()
            return
        self.write(refusals.render_refusal(error, request_id, self._headers_of_refusal(data)))
        if error.status == HTTPStatus.REQUEST_TIMEOUT:
            # A slow client gets no time to send the rest.
            self.transport.close()
        else:
            self._end_after_drain()

    def _headers_of_refusal(self, data: bytes) -> bytes:
        head = self.headers if self._in_body else bytes(self._partial) + data
        return self.default_headers([]) + refusals.render_headers(self._refusal_headers, head)

    def _abandon_exchange(self) -> bool:
        """Tell the application that the body is incomplete; returns whether its response has started."""
        self._responding = False
        has_started = self.cycle.response_started
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        return has_started

    def _drain(self, data: bytes) -> None:
        if self._is_excess:
            self._turn_away(data)
            return
        self._drained = (self._drained or 0) + len(data)
        if self._drained > _MAX_DRAINED_BYTES:
            self.transport.close()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Return whether the connection stays open: the response to a complete request is still sent."""
        if self._drained is not None or self._in_body or not self._responding:
            return False
        self._half_closed_at = self._watch.now
        exchange: Any = self.cycle
        if LASTS in exchange.scope:
            exchange.probe()
            self.loop.call_later(_PROBED_SECONDS, self._close_if_reset)
        return True

    # Slow clients.

    def tick(self, now: int) -> None:
        """Called once a second."""
        if self.transport.is_closing():
            # Closing: data may still wait for a client that does not read.
            self._close_slow_reader()
        elif self._drained is not None:
            self._check_draining(now)
        elif self._close_slow_reader():
            return
        elif self._half_closed_at is not None:
            self._check_half_closed(now - self._half_closed_at)
        else:
            self._check_sending(now - self._since)

    def _check_half_closed(self, ticks: int) -> None:
        """Find out whether the client has closed its side for reading as well, which looks the same at first.

        Its system then answers to any data with a reset. The event loop no longer reads, so it does not notice.
        """
        if ticks == bounds.PROBE_TICKS:
            cast("Exchange", self.cycle).probe()
        else:
            self._close_if_reset()

    def _close_if_reset(self) -> None:
        if self.transport.is_closing():
            return
        if self.transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.transport.abort()

    def _check_draining(self, now: int) -> None:
        if self._is_excess:
            self._turn_away(b"")
        elif self._close_slow_reader() or not self._outflow.is_acknowledged:
            # The time runs from when the client has read the response.
            self._drained_since = now
        elif now - self._drained_since >= bounds.DRAIN_TICKS:
            reset(self.transport)

    def _check_sending(self, ticks: int) -> None:
        if self._in_body:
            self._check_body()
        elif self._partial or self.cycle is None:
            if ticks > bounds.HEAD_TICKS:
                self._close_slow_head()
        elif not self._responding and ticks > self._watch.keep_alive_ticks:
            self.transport.close()

    def _check_body(self) -> None:
        if self.flow.read_paused or OWN_PACE in cast("Exchange", self.cycle).scope:
            # The application, not the client, is slow; or it has another measure.
            self._pace_in = None
            return
        self._pace_in = self._pace_in or Pace()
        if self._pace_in.is_too_slow(self._received, bounds.LEAST_BYTES):
            self._refuse(refusals.body_too_slow())

    def _close_slow_head(self) -> None:
        if self._partial:
            self._refuse(refusals.head_too_slow())
        else:
            # Nothing was received, so there is nothing to respond to.
            self.transport.close()

    def _close_slow_reader(self) -> bool:
        """Reset the connection of a client that reads too slowly; returns whether it was one."""
        waiting = self._outflow.count_overdue(self.transport, self._file)
        if not waiting:
            return False
        log.info("slow reader closed", client=self._peer, waiting=waiting)
        if self._responding:
            cast("Exchange", self.cycle).scope[READ_TOO_SLOWLY] = True
        reset(self.transport)
        return True
