"""Splits what a client sends into heads and bodies, so that the parser gets each head complete and checked.

It never gets data of two requests at once. See docs/adr/0018.
"""

import asyncio
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from kpi_shared.server import connections as bounds
from kpi_shared.server.connections import ConnectionLimits, watch_of
from kpi_shared.server.framing import BadFramingError, ChunkedBody, PartialHead, count_lines, diagnose

# How much is read ahead of the application: of a body, or after a request whose response is due.
HIGH_WATER_BYTES = 64 * 1024


class ReadingProtocol(HttpToolsProtocol):
    """The half of a connection that reads requests."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        loop: asyncio.AbstractEventLoop | None,
        limits: ConnectionLimits,
    ) -> None:
        super().__init__(config, server_state, app_state, loop)
        self._watch = watch_of(server_state, limits)
        # The start of a head that has not arrived completely.
        self._partial = PartialHead()
        self._empty_lines = 0
        self._lines = 0
        self._line_end = 0
        self._fault: BadFramingError | None = None
        # The request body: chunks, or the number of bytes that are still to arrive.
        self._chunks: ChunkedBody | None = None
        self._body_left = 0
        self._in_body = False
        self._received = 0
        # When the head started, or the connection became idle.
        self._since = 0
        # Whether the response of ``cycle`` is incomplete, or other connections have their turn before the next request;
        # and the data that arrived after its request.
        self._responding = False
        self._held = b""
        # When the client closed its sending side while a response was due; it may wait for that.
        self._half_closed_at: int | None = None

    def _take_head(self, data: bytes) -> bytes:
        """Pass a complete head to the parser; returns the data after it."""
        if self._partial:
            head, data = self._partial.complete(data)
        else:
            # RFC 9112 section 2.2: old clients send empty lines before a request.
            while data.startswith(b"\r\n"):
                data = data[2:]
                self._empty_lines += 1
                if self._empty_lines > bounds.MAX_EMPTY_LINES:
                    raise BadFramingError("There are too many empty lines before a request")
            end = data.find(b"\r\n\r\n") + 4
            if end == 3:  # noqa: PLR2004 find returned -1
                if data and data != b"\r":
                    self._since = self._watch.now
                self._partial.keep(data)
                return b""
            head, data = (data, b"") if end == len(data) else (data[:end], data[end:])
        if head:
            self._parse_head(head)
            # Not before: a refusal looks for the Origin in it.
            self._partial.clear()
        return data

    def _parse_head(self, head: bytes) -> None:
        self._empty_lines = 0
        self._lines = count_lines(head)
        self._line_end = head.find(b"\r\n")
        self.url = b""
        self.headers = []
        try:
            self.parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            # RFC 9110 section 7.8: a server may ignore an Upgrade. Data after a CONNECT is not HTTP.
            self.cycle.keep_alive = False
        except httptools.HttpParserError:
            raise self._fault or diagnose(head) from None

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
            raise BadFramingError("The end of the body is ambiguous")
        return data[cut:]

    def on_message_begin(self) -> None:
        """Do nothing, in place of the base class: the head was prepared before it was parsed."""

    def on_header(self, name: bytes, value: bytes) -> None:
        # A field after the body is a trailer. It is ignored, because the request was accepted without it.
        if not self._in_body:
            self.headers.append((name.lower(), value))

    # What arrives before its turn.

    def _hold(self, data: bytes) -> None:
        if self.cycle.keep_alive:
            self._held += data
        if len(self._held) > HIGH_WATER_BYTES:
            self.flow.pause_reading()

    def _take_held(self) -> None:
        held, self._held = self._held, b""
        if held:
            self.data_received(held)
        if self._half_closed_at is not None and (self._in_body or not self._responding):
            # The next request is incomplete, or there is none, and nothing more will arrive.
            self.transport.close()

    def _give_way(self, data: bytes) -> bool:
        """Go on with ``data``, if there is any, when other connections have had their turn."""
        if data:
            self._responding = True
            self._hold(data)
            self.loop.call_soon(self._go_on)
        return bool(data)

    def _go_on(self) -> None:
        if not self.transport.is_closing():
            self._responding = False
            self.flow.resume_reading()
            self._take_held()
