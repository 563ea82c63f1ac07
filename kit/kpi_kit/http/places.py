"""Paths, queries and origins."""

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote, unquote, urlencode, urlsplit

from kpi_kit.http.invalid import HttpValueError

Params = Mapping[str, "str | float | bool | Sequence[str | int] | None"]

# What is not encoded in a path (RFC 3986, section 3.3), and what already is.
PATH = "/%:@!$&'()*+,;=~"
_PORTS = {"http": 80, "https": 443}


def find_origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port (RFC 6454); ValueError if it has no valid port."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme)


def join_path(base: str, path: str) -> str:
    """``path`` below ``base``, encoded; HttpValueError for what could lead elsewhere.

    A path is often made of values: neither may ``..`` in one leave its place, nor ``?`` add parameters.
    """
    if not path.startswith("/") or path.startswith("//"):
        raise HttpValueError("a path must begin with exactly one slash: the host is that of the client")
    if "?" in path or "#" in path:
        raise HttpValueError(
            "a path must have no ? and no #: encode them (urllib.parse.quote), or give the query as params"
        )
    if _has_dots(path) or not path.isprintable():
        raise HttpValueError("a path must have no segments . and .., and no control characters")
    return quote(f"{base}{path}", safe=PATH)


def _has_dots(path: str) -> bool:
    """As the most careless server reads it: separators decoded, and parameters taken off each segment."""
    segments = re.split(r"[/\\]", unquote(path))
    return any(segment.partition(";")[0] in {".", ".."} for segment in segments)


def write_query(params: Params) -> str:
    """Without those that are None; a sequence is several parameters of one name. HttpValueError if it is none."""
    pairs = [(name, _write(each)) for name, value in params.items() for each in _list(value)]
    try:
        return urlencode(pairs)
    except UnicodeEncodeError:
        raise HttpValueError("a parameter has half of a surrogate pair in it, which is no character") from None


def _list(value: object) -> Sequence[object]:
    if value is None:
        return ()
    return value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)


def _write(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
