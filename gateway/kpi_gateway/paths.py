"""Which paths the gateway accepts: those that no two programs interpret differently."""

import re
from urllib.parse import unquote_to_bytes

from kpi_shared.errors import ProblemError

# Nearly all paths consist of these and need no further check. A dot may not begin a segment.
_PLAIN = re.compile(rb"(?:/(?:[A-Za-z0-9_~!$&'()*+,;=:@-][A-Za-z0-9_~!$&'()*+,;=:@.-]*)?)+")
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


class InvalidPathError(ProblemError):
    status = 400
    type = "invalid-path"
    title = "The request target is not valid"


def check_target(path: bytes, query: bytes) -> None:
    """Raise InvalidPathError unless path and query can be forwarded byte for byte and have only one meaning.

    Refused are the forms that a service may read as another path than the gateway does: dot segments in any encoding,
    backslashes, control characters, and bytes that are not UTF-8.
    """
    if not query.isascii():
        raise InvalidPathError("The query contains characters outside ASCII; percent-encode them")
    if not _PLAIN.fullmatch(path):
        _check_closely(path)


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
