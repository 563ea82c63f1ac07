"""The web origins that may call the API from a browser, and what their scripts may read."""

import re
from typing import Annotated

from kpi_shared.settings import CommaSeparated
from pydantic import AfterValidator

_BASE = re.compile(r"(https?)://(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_MAX_PORT = 2**16 - 1

# Where the development servers of front ends listen: Next.js and Create React App, and Vite.
DEVELOPMENT_ORIGINS = tuple(f"http://{host}:{port}" for port in (3000, 5173) for host in ("localhost", "127.0.0.1"))

# The fields that scripts may read: all that responses document. The Fetch standard itself exposes Cache-Control,
# Content-Type and a few others.
EXPOSED_HEADERS = (
    *("Allow", "Authorization", "Content-Type", "ETag", "Location", "Retry-After", "WWW-Authenticate"),
    *("Idempotency-Replayed", "X-Request-ID", "X-Response-Time"),
    *("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "RateLimit-Policy", "RateLimit"),
)


def refusal_headers(origins: tuple[str, ...], origin: bytes | None) -> list[tuple[bytes, bytes]]:
    """The CORS fields of a refusal by the server, which does not reach the middleware."""
    if not origins:
        return []
    vary = (b"vary", b"Origin")
    if origin is None or origin.decode("latin-1") not in origins:
        return [vary]
    return [
        vary,
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", ", ".join(EXPOSED_HEADERS).encode()),
    ]


def parse_base(value: str) -> str | None:
    """``scheme://host`` or ``scheme://host:port`` in lower case, or None for anything else, such as an address with a
    path. Raises ValueError for a port that does not exist.
    """
    base = value.lower()
    matched = _BASE.fullmatch(base)
    if matched is None:
        return None
    port = matched[2]
    if port is not None and (port.startswith("0") or int(port) > _MAX_PORT):
        raise ValueError(f"{port} is not a port; use 1 to {_MAX_PORT}, without leading zeros")
    return base


def _parse_origin(value: str) -> str:
    if value == "*":
        # The Fetch standard forbids the wildcard for requests with credentials, which the gateway allows.
        raise ValueError("'*' cannot be combined with credentials; name the origins")
    origin = parse_base(value)
    if origin is None:
        raise ValueError("an origin must be scheme://host or scheme://host:port, with no path")
    scheme = origin.partition(":")[0]
    default = f":{_DEFAULT_PORTS[scheme]}"
    if origin.endswith(default):
        # RFC 6454, 6.2: it would match no request.
        raise ValueError(f"browsers omit the default port of {scheme}; write {origin.removesuffix(default)}")
    return origin


def _parse_origins(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_parse_origin(value) for value in values)


Origins = Annotated[CommaSeparated, AfterValidator(_parse_origins)]
