"""The cursors that go through a list page by page: where a page ended, sealed with the list that it belongs to.

The next page starts in the middle of an index and costs the same at any depth. A cursor that someone made up, changed
or took from another list does not open.
"""

import base64
import binascii
import hashlib
import hmac

from kpi_shared.errors import InvalidRequestError
from kpi_shared.tokens import KeyRing

_SEAL_BYTES = 16


class InvalidCursorError(InvalidRequestError):
    """A cursor that this service did not make, or made for another list."""

    type = "invalid-cursor"
    title = "The cursor does not belong to this list"

    def __init__(self, detail: str = "Take the cursor from this list's own next, or leave it out") -> None:
        super().__init__(detail, errors=[{"pointer": "#/query/cursor", "detail": detail, "type": "cursor"}])


def cursor_length(position_bytes: int) -> int:
    """How many characters a cursor has: base64url with no padding around a position and its seal."""
    return ((position_bytes + _SEAL_BYTES) * 4 + 2) // 3


class CursorSealer:
    """Seals and opens positions, with keys derived from the ring that also seals tokens.

    ``of`` says which list a position belongs to; no two lists of the platform may give the same text.
    """

    def __init__(self, ring: KeyRing) -> None:
        # The current key is the last one of the ring.
        self._keys = [hashlib.blake2b(key=key, person=b"kpi-cursor").digest() for key in ring.keys][::-1]

    def seal(self, position: bytes, *, of: str) -> str:
        data = position + _seal(position, of, self._keys[0])
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")

    def open(self, cursor: str, *, of: str) -> bytes:
        """The position, or InvalidCursorError."""
        sealed = _decoded(cursor)
        position, seal = sealed[:-_SEAL_BYTES], sealed[-_SEAL_BYTES:]
        if not any(hmac.compare_digest(seal, _seal(position, of, key)) for key in self._keys):
            raise InvalidCursorError
        return position


def _seal(position: bytes, of: str, key: bytes) -> bytes:
    # With its length first, a position can take no character from the text behind it.
    length = len(position).to_bytes(2, "big")
    return hashlib.blake2b(length + position + of.encode(), key=key, digest_size=_SEAL_BYTES).digest()


def _decoded(cursor: str) -> bytes:
    padded = cursor + "=" * (-len(cursor) % 4)
    try:
        data = base64.b64decode(padded, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise InvalidCursorError from None
    # The last character may have spare bits: only one of its spellings is ours.
    if base64.urlsafe_b64encode(data).decode("ascii") != padded:
        raise InvalidCursorError
    return data
