"""The cursors that go through a list of posts page by page.

A cursor holds the sort key and the id of the last post shown, so that the next page starts in the middle of an
index and costs the same at any depth. It is sealed together with the list that it belongs to: a cursor that
someone made up, changed or took from another list does not open.
"""

import base64
import binascii
import hashlib
import hmac
import struct
from datetime import UTC, datetime, timedelta

from kpi_shared.tokens import KeyRing

from kpi_content.posts.errors import InvalidCursorError
from kpi_content.posts.listing import Listing, Position, Sort

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SEAL_BYTES = 16
# 16 bytes of position and 16 of seal, in base64url with no padding.
CURSOR_LENGTH = 43


class CursorCodec:
    """Seals and opens positions, with keys derived from the ring that also seals tokens."""

    def __init__(self, ring: KeyRing) -> None:
        # The current key is the last one of the ring.
        self._keys = [hashlib.blake2b(key=key, person=b"kpi-cursor").digest() for key in ring.keys][::-1]

    def encode(self, position: Position, listing: Listing) -> str:
        data = _packed(position, listing.sort)
        return base64.urlsafe_b64encode(data + _seal(data, listing, self._keys[0])).rstrip(b"=").decode("ascii")

    def decode(self, cursor: str, listing: Listing) -> Position:
        """The position, or InvalidCursorError."""
        sealed = _decoded(cursor)
        data, seal = sealed[:-_SEAL_BYTES], sealed[-_SEAL_BYTES:]
        if not any(hmac.compare_digest(seal, _seal(data, listing, key)) for key in self._keys):
            raise InvalidCursorError
        return _unpacked(data, listing.sort)


def _seal(data: bytes, listing: Listing, key: bytes) -> bytes:
    owner = "" if listing.owner_id is None else str(listing.owner_id)
    search = "-" if listing.search is None else f"+{listing.search}"
    # Neither the sort nor the owner can hold a line break, so that two lists never give the same text.
    text = f"{listing.sort}\n{owner}\n{search}".encode()
    return hashlib.blake2b(data + text, key=key, digest_size=_SEAL_BYTES).digest()


def _packed(position: Position, sort: Sort) -> bytes:
    if isinstance(position.key, datetime):
        return struct.pack(">qq", (position.key - _EPOCH) // _MICROSECOND, position.id)
    return struct.pack(">dq" if sort is Sort.HOT else ">qq", *position)


def _unpacked(data: bytes, sort: Sort) -> Position:
    key, post_id = struct.unpack(">dq" if sort is Sort.HOT else ">qq", data)
    return Position(_EPOCH + key * _MICROSECOND if sort is Sort.NEW else key, post_id)


def _decoded(cursor: str) -> bytes:
    try:
        data = base64.b64decode(f"{cursor}=", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise InvalidCursorError from None
    # The last character has two spare bits: only one of its four spellings is ours.
    if base64.urlsafe_b64encode(data).decode("ascii") != f"{cursor}=":
        raise InvalidCursorError
    return data
