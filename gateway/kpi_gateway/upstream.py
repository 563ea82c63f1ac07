"""The seam between the gateway and the HTTP client that reaches the upstreams."""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from typing import NamedTuple, Protocol

from kpi_shared.errors import ProblemError, UnavailableError


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
