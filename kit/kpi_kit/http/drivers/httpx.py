"""httpx 0.28: its transport, below its client.

The client would keep cookies, which the callers of one pool must not share, log each URL with its query, and read
proxies and their passwords from the environment.
"""

import zlib
from collections.abc import AsyncIterator
from typing import Any, cast

import httpx

# Not needed here, but by the library wherever this driver is used: what is missing is then found at once.
import stamina  # noqa: F401

from kpi_kit.http.errors import (
    ConnectionFailedError,
    HttpError,
    HttpTimeoutError,
    NoFreeConnectionError,
    ResponseFormatError,
    ResponseTooLargeError,
)
from kpi_kit.http.limits import Limits
from kpi_kit.http.messages import Request, Response

_GZIP = {"gzip", "x-gzip"}
_NOT_GZIP = "the body is not valid gzip"
# zlib's window size for the gzip format.
_WINDOW = 16 + zlib.MAX_WBITS


class HttpxTransport:
    """``proxy`` is the URL of an HTTP proxy."""

    def __init__(self, origin: str, limits: Limits, *, proxy: str | None) -> None:
        self._origin = origin
        self._limits = limits
        self._proxy = proxy
        self._transport: httpx.AsyncHTTPTransport | None = None
        times = {"connect": limits.connect, "pool": limits.connect, "read": limits.silence, "write": limits.silence}
        self._extensions = {"timeout": times}

    async def open(self) -> None:
        limits = httpx.Limits(max_connections=self._limits.max_connections, keepalive_expiry=5.0)
        # The standard library's SSL_CERT_FILE and SSL_CERT_DIR are all that is read from the environment.
        self._transport = httpx.AsyncHTTPTransport(limits=limits, proxy=self._proxy)

    async def close(self) -> None:
        if self._transport is not None:
            await self._transport.aclose()

    async def send(self, request: Request) -> Response:
        assert self._transport is not None, "the client sends nothing before it is open"  # noqa: S101
        sent = httpx.Request(
            request.method,
            f"{self._origin}{request.target}",
            headers={"accept": "*/*", "accept-encoding": "gzip", **request.headers},
            content=request.content or None,
            extensions=self._extensions,
        )
        try:
            received = await self._transport.handle_async_request(sent)
            try:
                response = await self._read(request, received)
                if _has_more(received):
                    await received.extensions["network_stream"].aclose()
                return response
            finally:
                await received.aclose()
        except httpx.TransportError as error:
            # Its text may quote what the other side has sent.
            raise _translate(request, error) from None

    async def _read(self, request: Request, received: httpx.Response) -> Response:
        limit = self._limits.max_body_bytes
        body = bytearray()
        coding = received.headers.get("content-encoding", "identity").strip().lower()
        async for piece in _decode(request, received, coding=coding, limit=limit):
            body += piece
            if len(body) > limit:
                raise ResponseTooLargeError(request, limit)
        return Response(received.status_code, dict(received.headers), bytes(body))


def _has_more(received: httpx.Response) -> bool:
    """Whether bytes came after a complete response: then its connection must not be used again.

    httpx 0.28.1 (httpcore 1.0.9, h11 0.16.0) takes them for the response to the next request, which may be another
    caller's, and has no public way to ask. Where its inside is another one, no connection is used twice.
    """
    try:
        connection = cast("Any", received.stream)._httpcore_stream._stream._connection  # noqa: SLF001 as said above
        return bool(connection._h11_state.trailing_data[0])  # noqa: SLF001
    except AttributeError:
        return True


async def _decode(request: Request, received: httpx.Response, *, coding: str, limit: int) -> AsyncIterator[bytes]:
    """The pieces of the body. httpx would decode each as a whole: 64 KiB of gzip can be 64 MiB of zeros."""
    # Below httpx's own iterators, which would give the connection back before it was looked at.
    pieces = cast("httpx.AsyncByteStream", received.stream)
    if coding == "identity":
        async for piece in pieces:
            yield piece
        return
    if coding not in _GZIP:
        raise ResponseFormatError(request, "the body is in a coding that was not asked for")
    decoder, is_empty = zlib.decompressobj(_WINDOW), True
    async for piece in pieces:
        is_empty = False
        try:
            # One byte more than allowed is enough to see that it is too much.
            yield decoder.decompress(piece, limit + 1)
        except zlib.error:
            raise ResponseFormatError(request, _NOT_GZIP) from None
        if decoder.unconsumed_tail:
            raise ResponseTooLargeError(request, limit)
        if decoder.unused_data:
            # What comes after the end would be kept in memory, however much it is.
            raise ResponseFormatError(request, _NOT_GZIP)
    if not is_empty and not decoder.eof:
        raise ResponseFormatError(request, _NOT_GZIP)


def _translate(request: Request, error: httpx.TransportError) -> HttpError:
    if isinstance(error, httpx.PoolTimeout):
        return NoFreeConnectionError(request, "all connections of this client are in use")
    if isinstance(error, httpx.ConnectTimeout):
        return HttpTimeoutError(request, "no connection in time")
    if isinstance(error, httpx.TimeoutException):
        return HttpTimeoutError(request, "silent for too long")
    if isinstance(error, (httpx.ConnectError, httpx.ProxyError)):
        # The system's or TLS's own words: no server has sent anything yet.
        return ConnectionFailedError(request, f"no connection: {error}")
    return ConnectionFailedError(
        request, "the connection ended, or broke the protocol, before the response was complete"
    )


create_driver = HttpxTransport
