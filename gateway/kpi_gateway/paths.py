"""Which paths the gateway accepts: those that no two programs interpret differently."""

import re
from urllib.parse import unquote_to_bytes

from kpi_shared.errors import ProblemError

# Nearly all paths consist of these and need no further check. A dot may not begin a segment.
_PLAIN = re.compile(rb"(?:/(?:[A-Za-z0-9_~!$&'()*+,;=:@-][A-Za-z0-9_~!$&'()*+,;=:@.-]*)?)+")
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_ESCAPE = re.compile(rb"%[0-9A-Fa-f]{2}")
# RFC 3986, 2.3: an escape of one of these means the same as the character itself.
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class InvalidPathError(ProblemError):
    status = 400
    type = "invalid-path"
    title = "The request target is not valid"


def check_target(path: bytes, query: bytes) -> bytes:
    """The path in its normal form, in which it is routed and forwarded.

    Raises InvalidPathError unless path and query have only one meaning. Refused are the forms that a service may read
    as another path than the gateway does: dot segments in any encoding, backslashes, control characters, and bytes that
    are not UTF-8.
    """
    if not query.isascii():
        raise InvalidPathError("The query contains characters outside ASCII; percent-encode them")
    if _PLAIN.fullmatch(path):
        return path
    _check_closely(path)
    return _ESCAPE.sub(_normalize_escape, path)


def _normalize_escape(escape: re.Match[bytes]) -> bytes:
    """RFC 3986, 6.2.2.1 and 6.2.2.2: unreserved characters are not escaped, and hex digits are in upper case."""
    code = int(escape[0][1:], 16)
    return bytes((code,)) if code in _UNRESERVED else escape[0].upper()


def _check_closely(path: bytes) -> None:
    if not path.startswith(b"/") or not path.isascii():
        raise InvalidPathError("The path must begin with a slash and be ASCII; percent-encode other characters")
    if _BROKEN_ESCAPE.search(path):
        raise InvalidPathError("The path contains a '%' that is not followed by two hex digits")
    decoded = unquote_to_bytes(path)
    if b"\\" in decoded or _CONTROL.search(decoded):
        raise InvalidPathError("The path contains a backslash or a control character")
    # Decoded, so that an encoded slash separates segments too: some programs behind a proxy read it so.
    if any(segment in (b".", b"..") for segment in decoded.split(b"/")):
        raise InvalidPathError("The path contains a '.' or '..' segment")
    try:
        decoded.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidPathError("The path is not UTF-8 after percent-decoding") from None
