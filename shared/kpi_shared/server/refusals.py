"""Responses of the server itself, to requests that do not reach the application."""

import re
from collections.abc import Callable

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from kpi_shared.errors import PROBLEM_MEDIA_TYPE, problem_body
from kpi_shared.server import connections as bounds
from kpi_shared.server.framing import BadFramingError

# Further headers of a refusal, by the Origin header of the request: None if there is none, or none was read.
RefusalHeaders = Callable[[bytes | None], list[tuple[bytes, bytes]]]

# Marks a response to a request of which the server has begun nothing: to repeat it elsewhere is safe, whatever it is.
NOT_BEGUN = (b"x-request-begun", b"no")
# RFC 9110, 15.5.9: a server may send this on an idle connection that it ends, and a client that has sent a request
# meanwhile may repeat it.
NOT_BEGUN_RESPONSE = STATUS_LINE[408] + b"%b: %b\r\nconnection: close\r\ncontent-length: 0\r\n\r\n" % NOT_BEGUN

_ORIGIN = re.compile(rb"\r\norigin:([^\r\n]*)\r\n", re.IGNORECASE)


def render_refusal(error: BadFramingError, request_id: str, more: bytes) -> bytes:
    """The complete response to a request that does not reach the application; ``more`` are further headers."""
    title = STATUS_LINE[error.status].split(b" ", 2)[2].strip().decode("ascii")
    body = problem_body(type=error.slug, title=title, status=error.status, detail=error.detail, instance=request_id)
    headers = {"content-type": PROBLEM_MEDIA_TYPE, "content-length": len(body), "x-request-id": request_id}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("ascii")
    return STATUS_LINE[error.status] + head + more + b"connection: close\r\n\r\n" + body


def render_headers(choose: RefusalHeaders | None, head: bytes | list[tuple[bytes, bytes]]) -> bytes:
    """The headers for the Origin in a head that may be incomplete or invalid, or in its parsed headers."""
    if choose is None:
        return b""
    if isinstance(head, bytes):
        match = _ORIGIN.search(head)
        origin = match[1] if match else None
    else:
        origin = next((value for name, value in head if name == b"origin"), None)
    pairs = choose(origin.strip(b" \t") if origin is not None else None)
    return b"".join(b"%b: %b\r\n" % pair for pair in pairs)


def too_many_connections() -> BadFramingError:
    return BadFramingError("There are too many connections", status=503, slug="too-many-connections")


def head_too_slow() -> BadFramingError:
    detail = f"The request line and headers did not arrive within {bounds.HEAD_TICKS} seconds"
    return BadFramingError(detail, status=408, slug="slow-head")


def body_too_slow() -> BadFramingError:
    least = f"{bounds.LEAST_BYTES} bytes in {bounds.PACE_TICKS} seconds"
    return BadFramingError(f"The body arrived at less than {least}", status=408, slug="slow-body")
