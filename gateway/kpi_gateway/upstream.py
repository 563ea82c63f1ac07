"""The seam between the gateway and the HTTP client that reaches the upstreams."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from typing import NamedTuple, Protocol

from kpi_shared.errors import ProblemError, UnavailableError, current_request_id


class UpstreamError(ProblemError):
    """The root of what can go wrong behind the gateway."""

    status = 502
    type = "bad-gateway"
    title = "The service behind the gateway gave no valid answer"


class UpstreamUnreachableError(UpstreamError):
    """No connection came about, so the request was not sent."""

    type = "upstream-unreachable"
    title = "The service behind the gateway cannot be reached"


class UpstreamTimeoutError(UpstreamError):
    status = 504
    type = "upstream-timeout"
    title = "The service behind the gateway did not answer in time"


class UpstreamBusyError(UnavailableError):
    type = "upstream-busy"
    title = "The service behind the gateway has all the requests it can take"


class UpstreamRequest(NamedTuple):
    """A request as it shall be sent: nothing is added to it but Host and the framing of the body.

    ``url`` is scheme and authority; ``target`` is the raw path with its query, sent byte for byte. A body is
    sent with Content-Length when it is bytes or when ``headers`` have one, else chunked.
    """

    method: str
    url: str
    target: str
    headers: Sequence[tuple[str, str]]
    body: bytes | AsyncIterable[bytes] | None = None


class UpstreamAnswer(NamedTuple):
    """An answer whose body is still to come.

    ``chunks`` raises UpstreamError when the body breaks off. ``close`` must be called: it gives back the
    connection when the body was read to its end, and ends it otherwise.
    """

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    chunks: AsyncIterator[bytes]
    close: Callable[[], None]


class UpstreamClient(Protocol):
    async def send(self, request: UpstreamRequest) -> UpstreamAnswer:
        """The answer's head; raises UpstreamError or UpstreamBusyError."""


# Far more than any document or health answer of ours, so that a broken upstream cannot fill the memory.
_MAX_ANSWER_BYTES = 8 * 1024 * 1024
# A probe or a reader of the documentation that waits longer has given up.
_FETCH_SECONDS = 1.5


async def fetch(client: UpstreamClient, url: str, target: str) -> tuple[int, bytes]:
    """Status and whole body of a GET of the gateway's own; raises as ``send`` does."""
    headers = [("accept", "application/json"), ("x-request-id", current_request_id())]
    try:
        async with asyncio.timeout(_FETCH_SECONDS):
            answer = await client.send(UpstreamRequest("GET", url, target, headers))
            try:
                return answer.status, await _whole(answer.chunks)
            finally:
                answer.close()
    except TimeoutError:
        raise UpstreamTimeoutError from None


async def _whole(chunks: AsyncIterator[bytes]) -> bytes:
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > _MAX_ANSWER_BYTES:
            raise UpstreamError(f"It answered with more than {_MAX_ANSWER_BYTES} bytes")
    return bytes(body)
