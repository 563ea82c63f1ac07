"""Connects to an address of an upstream, and writes a request to a connection."""

import asyncio
import ssl
from collections.abc import AsyncIterable
from functools import lru_cache

from kpi_gateway.upstream.balancing import Address
from kpi_gateway.upstream.connection import Connection
from kpi_gateway.upstream.contract import UpstreamError, UpstreamRequest
from kpi_gateway.upstream.round_trips import RoundTrip

# RFC 9110, 8.6: a request with one of these has a Content-Length even without a body.
_WITH_LENGTH = frozenset({b"POST", b"PUT", b"PATCH"})
# The service is told to respond this much earlier than the gateway gives up, and so answers first; of a short time, it
# gets a share.
_MARGIN_SECONDS = 0.2
_SHORT_SECONDS, _SHORT_SHARE = 2.0, 0.9


@lru_cache(maxsize=1)
def _tls_context() -> ssl.SSLContext:
    return ssl.create_default_context()


async def connect(address: Address, seconds: float) -> Connection:
    """Raises OSError or TimeoutError."""
    endpoint = address.endpoint
    tls = _tls_context() if endpoint.tls else None
    connection = Connection(on_free=address.keep, on_lost=address.forget)
    try:
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().create_connection(
                lambda: connection,
                endpoint.host,
                endpoint.port,
                ssl=tls,
                server_hostname=endpoint.host if tls else None,
            )
    except BaseException:
        # It may have been established at the moment when the wait for it ended.
        if connection.is_usable:
            connection.abort(UpstreamError())
        raise
    address.open.add(connection)
    return connection


def write(
    connection: Connection, round_trip: RoundTrip, request: UpstreamRequest, authority: bytes, seconds: float
) -> None:
    """Begin the round trip. ``seconds`` are left for the response to begin, from the end of the request."""
    body = request.body
    if isinstance(body, bytes) or body is None:
        framing = b"content-length: %d\r\n" % len(body or b"") if body or request.method in _WITH_LENGTH else b""
        connection.begin(round_trip, _head(request, authority, framing, seconds) + (body or b""))
        return
    framing = b"transfer-encoding: chunked\r\n"
    if request.length is not None:
        framing = b"content-length: " + request.length + b"\r\n"
    round_trip.is_sent = False
    connection.begin(round_trip, _head(request, authority, framing, seconds))
    upload = _upload(connection, round_trip, body, chunked=request.length is None, seconds=seconds)
    round_trip.upload = asyncio.create_task(upload)


def _head(request: UpstreamRequest, authority: bytes, framing: bytes, seconds: float) -> bytes:
    milliseconds = int(1000 * (seconds - _MARGIN_SECONDS if seconds > _SHORT_SECONDS else seconds * _SHORT_SHARE))
    head = [request.method, b" ", request.target, b" HTTP/1.1\r\nhost: ", authority, b"\r\n"]
    for name, value in request.headers:
        head += (name, b": ", value, b"\r\n")
    head += (b"x-request-timeout: %d\r\n" % milliseconds, framing, b"\r\n")
    return b"".join(head)


async def _upload(
    connection: Connection, round_trip: RoundTrip, body: AsyncIterable[bytes], *, chunked: bool, seconds: float
) -> None:
    try:
        async for piece in body:
            await connection.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        if chunked:
            await connection.write(b"0\r\n\r\n")
        round_trip.deadline = asyncio.get_running_loop().time() + seconds
        round_trip.is_sent = True
    except Exception as error:  # noqa: BLE001 every error must reach the task that waits for the response
        if connection.round_trip is round_trip:
            connection.abort(error)
