"""The seam between the gateway and the HTTP client that reaches the upstreams."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Sequence
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


class Timeouts(NamedTuple):
    """In seconds: to connect, the longest silence of an upstream that owes an answer, and the whole exchange."""

    connect: float
    read: float
    total: float


class UpstreamRequest(NamedTuple):
    """A request as it shall be sent: nothing is added to it but Host and the framing of the body.

    ``upstream`` is the name of one; ``target`` is the raw path with its query, sent byte for byte. A body of bytes
    is sent with Content-Length; one that is still coming with ``length``, or chunked where that is None.
    """

    method: bytes
    upstream: str
    target: bytes
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes | AsyncIterable[bytes] | None = None
    length: bytes | None = None
    # None: those of the HTTP client's own settings.
    timeouts: Timeouts | None = None
    # Whom the request counts for where one may have only so many in flight; nobody: the gateway itself.
    client: str = ""


class UpstreamAnswer(Protocol):
    """An answer whose head has come; names of ``headers`` are in lower case.

    ``whole`` is the body where all of it is there already, else None, and ``chunks`` has it as it comes; that raises
    UpstreamError when it breaks off. ``close`` must be called: it ends the connection of an answer that is not whole.
    """

    status: int
    headers: list[tuple[bytes, bytes]]

    def whole(self) -> bytes | None: ...

    def chunks(self) -> AsyncIterator[bytes]: ...

    def close(self) -> None: ...


class UpstreamClient(Protocol):
    async def send(self, request: UpstreamRequest) -> UpstreamAnswer:
        """The answer's head; raises UpstreamError or UpstreamBusyError, and what the request's body raises."""


# Far more than any document or health answer of ours, so that a broken upstream cannot fill the memory.
_MAX_ANSWER_BYTES = 8 * 1024 * 1024
# A probe or a reader of the documentation that waits longer has given up.
_FETCH_SECONDS = 1.5


async def fetch(client: UpstreamClient, upstream: str, target: str) -> tuple[int, bytes]:
    """Status and whole body of a GET of the gateway's own; raises as ``send`` does."""
    headers = [(b"accept", b"application/json"), (b"x-request-id", current_request_id().encode())]
    try:
        async with asyncio.timeout(_FETCH_SECONDS):
            answer = await client.send(UpstreamRequest(b"GET", upstream, target.encode(), headers))
            try:
                return answer.status, await _whole(answer.chunks())
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
