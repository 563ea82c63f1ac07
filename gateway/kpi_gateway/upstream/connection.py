"""One HTTP/1.1 connection to an upstream: writes requests and reads their responses.

The parser is that of httptools 0.9 (llhttp, strict), so a response whose end two programs could place differently is
refused: two lengths, a length in addition to chunks, folded header fields, lines that end in a bare LF. The connections
of aiohttp 3.14 and httpcore 1.0 were looked at: aiohttp does much that a proxy does not need (URLs, cookies, decoding),
and httpcore parses with h11, with which a server handles a fifth of the requests of one with httptools (2026-11-27).
"""

import asyncio
import socket
from collections.abc import Callable
from typing import cast

import httptools
from kpi_shared.server.connections import reset
from kpi_shared.server.refusals import NOT_BEGUN

from kpi_gateway.upstream.contract import BrokenConnectionError, NotBegunError, UpstreamError
from kpi_gateway.upstream.round_trips import STREAM_HIGH_WATER, RoundTrip

# Of a response's status line and header fields, and of all else that is not body: chunk sizes, extensions, trailers.
_MAX_HEAD_BYTES = 64 * 1024
# The statuses of a final response: not 1xx, and no number without a defined class.
_FINAL = range(200, 600)
_HTTP_REQUEST_TIMEOUT = 408
_VERSIONS = frozenset({"1.1", "1.0"})
_WITHOUT_BODY = frozenset({204, 304})


class NoResponseError(BrokenConnectionError):
    """The connection ended before the first byte of a response."""


class Connection(asyncio.Protocol):
    """Takes one request at a time; ``on_free`` is called when it can take the next, ``on_lost`` when it is closed."""

    def __init__(self, *, on_free: Callable[["Connection"], None], on_lost: Callable[["Connection"], None]) -> None:
        self._on_free = on_free
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self.round_trip: RoundTrip | None = None
        self.active_at = 0.0
        self.served = 0
        self._usable = False
        self._keep_alive = False
        self._head_done = False
        self._until_end = False
        self._is_interim = False
        self._overhead = 0
        self._writable: asyncio.Future[None] | None = None
        self._reading = True

    # Called for a request.

    def begin(self, round_trip: RoundTrip, data: bytes) -> None:
        """Write the request, or only its head if ``round_trip.upload`` writes the rest."""
        self.round_trip = round_trip
        round_trip.connection = self
        self.active_at = self._loop.time()
        self._overhead = 0
        self._head_done = False
        self._until_end = False
        self._transport.write(data)

    async def write(self, data: bytes) -> None:
        """Raises UpstreamError if the connection is closed; the round trip has the reason."""
        if not self._usable:
            raise UpstreamError
        self.active_at = self._loop.time()
        self._transport.write(data)
        if self._writable is not None:
            await self._writable

    @property
    def is_usable(self) -> bool:
        return self._usable and not self._transport.is_closing()

    @property
    def is_waiting_for_upstream(self) -> bool:
        """Whether the upstream is to blame for silence: not while reading is paused or the request is incomplete."""
        round_trip = self.round_trip
        return round_trip is not None and self._reading and (round_trip.is_sent or self._writable is not None)

    def is_overdue(self, round_trip: RoundTrip, now: float) -> bool:
        """Whether the upstream has missed the deadline, or has been silent for too long within a body."""
        if round_trip.is_sent and not round_trip.head.done():
            return now > round_trip.deadline
        return now - self.active_at > round_trip.silence and self.is_waiting_for_upstream

    @property
    def is_repeatable(self) -> bool:
        """Whether its request may be repeated at another address, and nothing of the response has arrived."""
        round_trip = self.round_trip
        return round_trip is not None and round_trip.is_repeatable and not round_trip.head.done()

    def resume(self) -> None:
        if not self._reading:
            self._reading = True
            self.active_at = self._loop.time()
            self._transport.resume_reading()

    def retire(self) -> None:
        """Close it after the response, of which the system reads no more ahead than the gateway does."""
        self._keep_alive = False
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, STREAM_HIGH_WATER)

    def cut_short(self) -> None:
        """Close it as if the response were complete."""
        round_trip, self.round_trip = self.round_trip, None
        if round_trip is not None:
            round_trip.finish()
        self.abandon(UpstreamError("The response was cut short"))

    def abandon(self, error: BaseException) -> None:
        """As ``abort``, with a reset: the mere end of the data would mean a client that waits for its response."""
        if not self._transport.is_closing():
            reset(self._transport)
        self.abort(error)

    def abort(self, error: BaseException) -> None:
        """Close it at once; its round trip fails with ``error``."""
        self._usable = False
        self._transport.abort()
        round_trip, self.round_trip = self.round_trip, None
        if round_trip is not None:
            round_trip.fail(error)
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    # Called by the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._usable = True

    def connection_lost(self, exc: Exception | None) -> None:
        self._usable = False
        round_trip = self.round_trip
        if round_trip is not None and self._until_end and exc is None:
            # RFC 9112, 6.3: without a length and without chunks the response ends with the connection.
            self._finish(round_trip)
        elif round_trip is not None:
            error = BrokenConnectionError("It closed the connection within a response")
            silent = not self._head_done and not self._overhead
            self.abort(NoResponseError("It closed the connection without a response") if silent else error)
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._on_lost(self)

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def data_received(self, data: bytes) -> None:
        if self.round_trip is None:
            # No request is open: the next one on this connection would get this as its response.
            self.abort(UpstreamError())
            return
        self.active_at = self._loop.time()
        self._overhead += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._refuse(error)
            return
        if self._overhead > _MAX_HEAD_BYTES:
            self.abort(UpstreamError("It sent too much data that is not body"))
        round_trip = self.round_trip
        if round_trip is None:
            # The response is complete. Only now is it certain that nothing follows it.
            self._release()
        elif round_trip.is_full and self._reading:
            self._reading = False
            self._transport.pause_reading()

    def _refuse(self, error: Exception) -> None:
        cause = error.__context__ if isinstance(error.__context__, UpstreamError) else None
        if cause is None:
            cause = UpstreamError("It sent data that is not HTTP/1.1")
            cause.__cause__ = error
        self.abort(cause)

    # Called by the parser.

    def on_message_begin(self) -> None:
        if self.round_trip is None:
            # A second response to one request.
            self._keep_alive = False
        self._is_interim = False

    def on_header(self, name: bytes, value: bytes) -> None:
        # A field after the body is a trailer, not a header field.
        if self.round_trip is not None and not self._head_done:
            self.round_trip.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        round_trip = self.round_trip
        if round_trip is None:
            return
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:  # noqa: PLR2004 RFC 9110, 15.2: interim, not the response
            self._is_interim = True
            round_trip.headers.clear()
            return
        if status not in _FINAL or self._parser.get_http_version() not in _VERSIONS:
            raise UpstreamError(f"It responded with the status {status}, in HTTP/{self._parser.get_http_version()}")
        if status == _HTTP_REQUEST_TIMEOUT and NOT_BEGUN in round_trip.headers:
            raise NotBegunError
        self._head_done = True
        self._keep_alive = self._parser.should_keep_alive()
        round_trip.status = status
        self._until_end = not self._has_framing(round_trip)
        if round_trip.no_body:
            # The parser would wait for a body of the announced length. The connection is not used again.
            self._keep_alive = False
            self._finish(round_trip)
        elif not round_trip.head.done():
            round_trip.head.set_result(None)

    def _has_framing(self, round_trip: RoundTrip) -> bool:
        if round_trip.status in _WITHOUT_BODY:
            return True
        for name, value in round_trip.headers:
            if name == b"content-length":
                return True
            if name == b"transfer-encoding":
                if value.lower() != b"chunked":
                    raise UpstreamError("It used a transfer coding that was not requested")
                return True
        return False

    def on_body(self, body: bytes) -> None:
        self._overhead -= len(body)
        if self.round_trip is not None:
            self.round_trip.feed(body)

    def on_message_complete(self) -> None:
        round_trip = self.round_trip
        if round_trip is not None and not self._is_interim:
            self._finish(round_trip)

    def _finish(self, round_trip: RoundTrip) -> None:
        self.round_trip = None
        if not round_trip.is_sent:
            # A response before the end of the request: the rest of it is not sent, so nothing else can be.
            self._keep_alive = False
        round_trip.finish()
        if not round_trip.head.done():
            round_trip.head.set_result(None)

    def _release(self) -> None:
        self.served += 1
        if self._keep_alive and self.is_usable:
            self.resume()
            self._on_free(self)
        else:
            self._usable = False
            # The rest of a request that got its response early need not be sent.
            self._transport.abort()
