"""Cursors for keyset paging: the position where a page ended, sealed together with the list that it belongs to.

The next page starts inside an index and costs the same at any depth. A cursor that was forged, changed or taken from
another list is not valid.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Iterable

from kpi_kit.crypt import derive_key

from kpi_shared.errors import InvalidRequestError
from kpi_shared.tokens import KeyRing

_SEAL_BYTES = 16
_KEY_BYTES = 64


class InvalidCursorError(InvalidRequestError):
    """A cursor that this service did not create, or created for another list."""

    type = "invalid-cursor"
    title = "The cursor does not belong to this list"

    def __init__(self, detail: str = "Use the cursor from the next field of this list, or omit it") -> None:
        super().__init__(detail, errors=[{"pointer": "#/query/cursor", "detail": detail, "type": "cursor"}])


def cursor_length(position_bytes: int) -> int:
    """The length of a cursor in characters: position and seal as base64url without padding."""
    return ((position_bytes + _SEAL_BYTES) * 4 + 2) // 3


class CursorSealer:
    """Seals and opens positions, with keys derived from those of the tokens, and from lasting ones of the part.

    A ring of v4.public has no key that could seal: then the first lasting one does, and none of them is public.
    ``of`` names the list that a position belongs to; it must be different for any two lists of the platform.
    """

    def __init__(self, ring: KeyRing, lasting: Iterable[bytes] = ()) -> None:
        self._lasting = tuple(lasting)
        self.use(ring)

    def use(self, ring: KeyRing) -> None:
        """Seal with the active key of this ring, and accept what its keys have sealed."""
        # While there is no key at all, which an emergency may cause, this process accepts its own cursors.
        keys = (*ring.symmetric_keys, *self._lasting) or (secrets.token_bytes(32),)
        self._keys = [derive_key(key, purpose=b"kpi-cursor", size=_KEY_BYTES) for key in keys]

    def seal(self, position: bytes, *, of: str) -> str:
        data = position + _seal(position, of, self._keys[0])
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")

    def open(self, cursor: str, *, of: str) -> bytes:
        """Return the position, or raise InvalidCursorError."""
        sealed = _decode(cursor)
        position, seal = sealed[:-_SEAL_BYTES], sealed[-_SEAL_BYTES:]
        if not any(hmac.compare_digest(seal, _seal(position, of, key)) for key in self._keys):
            raise InvalidCursorError
        return position


def _seal(position: bytes, of: str, key: bytes) -> bytes:
    # The length comes first, so that the end of a position cannot be mistaken for the start of the text after it.
    length = len(position).to_bytes(2, "big")
    return hashlib.blake2b(length + position + of.encode(), key=key, digest_size=_SEAL_BYTES).digest()


def _decode(cursor: str) -> bytes:
    padded = cursor + "=" * (-len(cursor) % 4)
    try:
        data = base64.b64decode(padded, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise InvalidCursorError from None
    # The last character may have spare bits: only the canonical spelling is accepted.
    if base64.urlsafe_b64encode(data).decode("ascii") != padded:
        raise InvalidCursorError
    return data
