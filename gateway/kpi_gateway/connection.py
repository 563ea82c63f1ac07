"""One HTTP/1.1 connection to an upstream: what is written to it, and the answers that are read from it.

The parser is llhttp's strict one, so an answer whose end two programs could see in two places is no answer: two
lengths, a length beside chunks, folded headers, lines that end in a bare LF.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import cast

import httptools

from kpi_gateway.upstream import UpstreamError

# Of an answer's status line and headers, and of all that is neither head nor body: chunk sizes, extensions, trailers.
_MAX_HEAD_BYTES = 64 * 1024
# How much of an answer is read ahead of a client that takes its time.
_HIGH_WATER = 256 * 1024
_LOW_WATER = 64 * 1024
# What a server may end a request with: not 1xx, nor a number that no protocol has given a meaning.
_FINAL = range(200, 600)
_VERSIONS = frozenset({"1.1", "1.0"})
_WITHOUT_BODY = frozenset({204, 304})


class NoAnswerError(UpstreamError):
    """The connection ended before the first byte of an answer."""


class Exchange:
    """One request on a connection, and its answer as it comes in.

    It outlives its turn on the connection, which may serve another request while this one's client is still reading:
    no two requests ever share anything that an answer is kept in.
    """

    __slots__ = (
        "_buffered",
        "_chunks",
        "_error",
        "_more",
        "complete",
        "connection",
        "head",
        "headers",
        "no_body",
        "on_end",
        "patience",
        "sent",
        "status",
        "upload",
    )

    def __init__(self, *, no_body: bool, patience: float, on_end: Callable[[], None]) -> None:
        """``patience`` is the longest silence in seconds; ``on_end`` is called once, at the end of the answer."""
        self.no_body = no_body
        self.patience = patience
        self.on_end = on_end
        self.head: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.connection: Connection | None = None
        # Whether the request is out, and the task that still writes it where it is not.
        self.sent = True
        self.upload: asyncio.Task[None] | None = None
        self.complete = False
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._more: asyncio.Future[None] | None = None
        self._error: BaseException | None = None

    def whole(self) -> bytes | None:
        """The body, where all of it is there and none has been taken."""
        if not self.complete:
            return None
        chunks = self._chunks
        if len(chunks) == 1:
            return chunks[0]
        return b"".join(chunks)

    async def chunks(self) -> AsyncIterator[bytes]:
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                self._buffered -= len(chunk)
                if self._buffered < _LOW_WATER and self.connection is not None:
                    self.connection.resume()
                yield chunk
            if self._error is not None:
                raise self._error
            if self.complete:
                return
            self._more = asyncio.get_running_loop().create_future()
            await self._more

    def close(self) -> None:
        """Done with it: a connection whose answer is not complete serves nobody else."""
        if self.connection is not None:
            self.connection.abort(UpstreamError("The request was given up"))
        if self.upload is not None:
            self.upload.cancel()

    def feed(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._buffered += len(chunk)
        self._wake()

    @property
    def is_full(self) -> bool:
        return self._buffered > _HIGH_WATER

    def fail(self, error: BaseException) -> None:
        if self.head.done():
            self._error = error
            self._wake()
        else:
            self.head.set_exception(error)
            # It may be that nobody waits any more.
            self.head.exception()
        self._end()

    def finish(self) -> None:
        self.complete = True
        self._wake()
        self._end()

    def _wake(self) -> None:
        more, self._more = self._more, None
        if more is not None and not more.done():
            more.set_result(None)

    def _end(self) -> None:
        self.connection = None
        self.on_end()


class Connection(asyncio.Protocol):
    """Takes one request at a time; ``on_free`` is called when it can take another, ``on_lost`` when it never will."""

    def __init__(self, *, on_free: Callable[["Connection"], None], on_lost: Callable[["Connection"], None]) -> None:
        self._on_free = on_free
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self.exchange: Exchange | None = None
        self.active_at = 0.0
        self.served = 0
        self._usable = False
        self._keep_alive = False
        self._head_done = False
        self._until_end = False
        self._informational = False
        self._overhead = 0
        self._writable: asyncio.Future[None] | None = None
        self._reading = True

    # What a request does with it.

    def begin(self, exchange: Exchange, data: bytes) -> None:
        """Write the request, or its head where ``exchange.upload`` will write the rest."""
        self.exchange = exchange
        exchange.connection = self
        self.active_at = self._loop.time()
        self._overhead = 0
        self._head_done = False
        self._until_end = False
        self._transport.write(data)

    async def write(self, data: bytes) -> None:
        """Raises UpstreamError when the connection is gone; the exchange knows why."""
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
    def waits_for_the_upstream(self) -> bool:
        """Whether silence is the upstream's: not while nobody takes what it sends, or the request is still coming."""
        exchange = self.exchange
        return exchange is not None and self._reading and (exchange.sent or self._writable is not None)

    def resume(self) -> None:
        if not self._reading:
            self._reading = True
            self.active_at = self._loop.time()
            self._transport.resume_reading()

    def abort(self, error: BaseException) -> None:
        """End it at once; the exchange on it fails with ``error``."""
        self._usable = False
        self._transport.abort()
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.fail(error)
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    # What the transport says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._usable = True

    def connection_lost(self, exc: Exception | None) -> None:
        self._usable = False
        exchange = self.exchange
        if exchange is not None and self._until_end and exc is None:
            # RFC 9112, 6.3: without a length and without chunks the answer ends with the connection.
            self._finish(exchange)
        elif exchange is not None:
            error = UpstreamError("It closed the connection within an answer")
            silent = not self._head_done and not self._overhead
            self.abort(NoAnswerError("It closed the connection without an answer") if silent else error)
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
        if self.exchange is None:
            # Nobody asked: whoever came next on this connection would take it for their answer.
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
            self.abort(UpstreamError("It sent too much that is no body"))
        exchange = self.exchange
        if exchange is None:
            # The answer is complete. Only now is it certain that nothing came behind it.
            self._free()
        elif exchange.is_full and self._reading:
            self._reading = False
            self._transport.pause_reading()

    def _refuse(self, error: Exception) -> None:
        cause = error.__context__ if isinstance(error.__context__, UpstreamError) else None
        if cause is None:
            cause = UpstreamError("It sent what is no HTTP/1.1")
            cause.__cause__ = error
        self.abort(cause)

    # What the parser says.

    def on_message_begin(self) -> None:
        if self.exchange is None:
            # A second answer to one request.
            self._keep_alive = False
        self._informational = False

    def on_header(self, name: bytes, value: bytes) -> None:
        # A field after the body is a trailer, which is nobody's header.
        if self.exchange is not None and not self._head_done:
            self.exchange.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        exchange = self.exchange
        if exchange is None:
            return
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:  # noqa: PLR2004 RFC 9110, 15.2: it announces the answer, and is none
            self._informational = True
            exchange.headers.clear()
            return
        if status not in _FINAL or self._parser.get_http_version() not in _VERSIONS:
            raise UpstreamError(f"It answered with the status {status}, in HTTP/{self._parser.get_http_version()}")
        self._head_done = True
        self._keep_alive = self._parser.should_keep_alive()
        exchange.status = status
        self._until_end = not self._has_end(exchange)
        if exchange.no_body:
            # The parser would wait for the body that the length speaks of. It is not asked again.
            self._keep_alive = False
            self._finish(exchange)
        elif not exchange.head.done():
            exchange.head.set_result(None)

    def _has_end(self, exchange: Exchange) -> bool:
        if exchange.status in _WITHOUT_BODY:
            return True
        for name, value in exchange.headers:
            if name == b"content-length":
                return True
            if name == b"transfer-encoding":
                if value.lower() != b"chunked":
                    raise UpstreamError("It used a transfer coding that nobody asked for")
                return True
        return False

    def on_body(self, body: bytes) -> None:
        self._overhead -= len(body)
        if self.exchange is not None:
            self.exchange.feed(body)

    def on_message_complete(self) -> None:
        exchange = self.exchange
        if exchange is not None and not self._informational:
            self._finish(exchange)

    def _finish(self, exchange: Exchange) -> None:
        self.exchange = None
        if not exchange.sent:
            # An answer before the end of the request: what is left of that is not sent, so nothing else can be.
            self._keep_alive = False
        exchange.finish()
        if not exchange.head.done():
            exchange.head.set_result(None)

    def _free(self) -> None:
        self.served += 1
        if self._keep_alive and self.is_usable:
            self.resume()
            self._on_free(self)
        else:
            self._usable = False
            # What is left of a request that was answered before its end is not worth sending.
            self._transport.abort()
