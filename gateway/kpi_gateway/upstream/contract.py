"""The contract between the gateway and the HTTP client that reaches the upstreams.

The client is our own. Of the libraries that were looked at, aiohttp took 120 of the 201 microseconds of a forwarded
request and does not tell what was sent when a connection broke (ADR 3, ADR 20); a route around httpx 0.28 (httpcore
1.0) forwarded 450 requests/s where this gateway forwards 15,800. Neither balances over several addresses (2026-11-27).
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import ClassVar, NamedTuple, Protocol

from kpi_shared.errors import ProblemError, UnavailableError, current_request_id

from kpi_gateway.setting_types import Timeouts

# A service marks with this field an error that says nothing about this address: all others would respond the same.
SAME_ELSEWHERE = (b"x-retry-elsewhere", b"no")


class UpstreamError(ProblemError):
    """The base of all errors behind the gateway. ``may_pass``: a retry may help, so the response has Retry-After."""

    status = 502
    type = "bad-gateway"
    title = "The service behind the gateway gave no valid response"
    may_pass: ClassVar[bool] = False

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail, headers={"Retry-After": "1"} if self.may_pass else None)


class UpstreamUnreachableError(UpstreamError):
    """No connection could be established, so the request was not sent."""

    type = "upstream-unreachable"
    title = "The service behind the gateway cannot be reached"
    may_pass = True


class BrokenConnectionError(UpstreamError):
    """The connection ended before the response was complete."""

    may_pass = True


class NotBegunError(BrokenConnectionError):
    """The service stops, and says that it has begun nothing of the request."""

    status = 503
    type = "upstream-stopping"
    title = "The service behind the gateway is being restarted, and has not begun the request"


class AddressOutError(BrokenConnectionError):
    """The address went out of rotation while a request that may be repeated elsewhere waited there."""


class UpstreamTimeoutError(UpstreamError):
    may_pass = True
    status = 504
    type = "upstream-timeout"
    title = "The service behind the gateway did not respond in time"


class UpstreamBusyError(UnavailableError):
    type = "upstream-busy"
    title = "The service behind the gateway is handling as many requests as it can"

    def __init__(self) -> None:
        super().__init__(retry_after=1)
        # As auth's own 503 at the token endpoints: the API document promises the member to OAuth2 libraries.
        self.members = {"error": "temporarily_unavailable"}


class UpstreamRequest(NamedTuple):
    """A request as it is sent: only Host and the framing of the body are added.

    ``upstream`` is the name of an upstream; ``target`` is the raw path with its query, sent byte for byte. A body of
    bytes is sent with Content-Length; an iterable one with ``length``, or chunked if that is None.
    """

    method: bytes
    upstream: str
    target: bytes
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes | AsyncIterable[bytes] | None = None
    length: bytes | None = None
    # None: those of the HTTP client's own settings.
    timeouts: Timeouts | None = None
    # The client whose limit of requests in flight applies; empty for requests of the gateway itself.
    client: str = ""
    # Whether it may be repeated at another address: it has no effects, and its body is complete.
    is_repeatable: bool = False
    # Whether its body lasts for as long as it is written: it takes a place of a stream instead of an ordinary one.
    is_stream: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether its body, if any, is there, so that it can be sent a second time."""
        return self.body is None or isinstance(self.body, bytes)


class UpstreamResponse(Protocol):
    """A response whose head has arrived; names in ``headers`` are in lower case.

    ``complete_body`` returns the body if all of it has arrived, else None; ``chunks`` yields it as it arrives, and
    raises UpstreamError if it breaks off. ``close`` must be called: it closes the connection of an incomplete response.
    A response that ``is_stream`` has given the place of its request back, and has one of a stream; ``end`` completes it
    with what has arrived.
    """

    status: int
    is_stream: bool
    headers: list[tuple[bytes, bytes]]

    def complete_body(self) -> bytes | None: ...

    def chunks(self) -> AsyncIterator[bytes]: ...

    def end(self) -> None: ...

    def close(self) -> None: ...


class UpstreamClient(Protocol):
    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """Return once the response's head is there.

        Raises UpstreamError, UpstreamBusyError, StreamsBusyError, or what the request's body raises.
        """


# Far more than any document or health response of ours, so that a broken upstream cannot fill the memory.
_MAX_FETCH_BYTES = 8 * 1024 * 1024
# A probe or a reader of the documentation does not wait longer.
_FETCH_SECONDS = 1.5


async def fetch(client: UpstreamClient, upstream: str, target: str) -> tuple[int, bytes]:
    """Status and complete body of a GET that the gateway makes for itself; raises as ``send`` does."""
    headers = [(b"accept", b"application/json"), (b"x-request-id", current_request_id().encode())]
    try:
        async with asyncio.timeout(_FETCH_SECONDS):
            response = await client.send(UpstreamRequest(b"GET", upstream, target.encode(), headers))
            try:
                return response.status, await read_body(response.chunks())
            finally:
                response.close()
    except TimeoutError:
        raise UpstreamTimeoutError from None


async def read_body(chunks: AsyncIterator[bytes]) -> bytes:
    """The complete body of a response that the gateway itself asked for."""
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > _MAX_FETCH_BYTES:
            raise UpstreamError(f"The response has more than {_MAX_FETCH_BYTES} bytes")
    return bytes(body)
