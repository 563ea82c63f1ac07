"""Which paths the gateway takes: those that no two programs read in two ways."""

import re
from urllib.parse import unquote_to_bytes

from kpi_shared.errors import ProblemError

# Nearly every path is made of these alone and needs no closer look. A dot may not begin a segment.
_PLAIN = re.compile(rb"(?:/(?:[A-Za-z0-9_~!$&'()*+,;=:@-][A-Za-z0-9_~!$&'()*+,;=:@.-]*)?)+")
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


class InvalidPathError(ProblemError):
    status = 400
    type = "invalid-path"
    title = "The request's address is not valid"


def check_target(path: bytes, query: bytes) -> None:
    """Raise InvalidPathError unless path and query can be passed on byte for byte and mean one thing only.

    What is refused are the shapes by which a path that the gateway lets through becomes another one behind
    it: dot segments in any encoding, backslashes, control characters, and bytes that are no UTF-8.
    """
    if not query.isascii():
        raise InvalidPathError("The query has characters outside ASCII; percent-encode them")
    if not _PLAIN.fullmatch(path):
        _check_closely(path)


def _check_closely(path: bytes) -> None:
    if not path.startswith(b"/") or not path.isascii():
        raise InvalidPathError("The path must begin with a slash and be ASCII; percent-encode other characters")
    if _BROKEN_ESCAPE.search(path):
        raise InvalidPathError("The path has a '%' that two hex digits do not follow")
    decoded = unquote_to_bytes(path)
    if b"\\" in decoded or _CONTROL.search(decoded):
        raise InvalidPathError("The path has a backslash or a control character")
    # Decoded, so that an encoded slash parts segments too: some programs behind a proxy read it so.
    if any(segment in (b".", b"..") for segment in decoded.split(b"/")):
        raise InvalidPathError("The path has a '.' or '..' segment")
    try:
        decoded.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidPathError("The path is not UTF-8 once its percent-encoding is taken off") from None
