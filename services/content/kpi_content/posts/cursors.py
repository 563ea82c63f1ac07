"""Where a page of posts ended, as a cursor: the sort key and the id of its last post."""

import struct
from datetime import UTC, datetime, timedelta

from kpi_shared.cursors import CursorSealer, cursor_length
from kpi_shared.tokens import KeyRing

from kpi_content.posts.listing import Listing, Position, Sort

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
CURSOR_LENGTH = cursor_length(struct.calcsize(">qq"))


class CursorCodec:
    """Positions in lists of posts as cursors, and back."""

    def __init__(self, ring: KeyRing) -> None:
        self._sealer = CursorSealer(ring)

    def encode(self, position: Position, listing: Listing) -> str:
        return self._sealer.seal(_packed(position, listing.sort), of=_name(listing))

    def decode(self, cursor: str, listing: Listing) -> Position:
        """The position, or InvalidCursorError."""
        return _unpacked(self._sealer.open(cursor, of=_name(listing)), listing.sort)


def _name(listing: Listing) -> str:
    owner = "" if listing.owner_id is None else str(listing.owner_id)
    search = "-" if listing.search is None else f"+{listing.search}"
    # Neither the sort nor the owner can hold a line break, so that two lists never give the same text.
    return f"posts\n{listing.sort}\n{owner}\n{search}"


def _packed(position: Position, sort: Sort) -> bytes:
    if isinstance(position.key, datetime):
        return struct.pack(">qq", (position.key - _EPOCH) // _MICROSECOND, position.id)
    return struct.pack(">dq" if sort is Sort.HOT else ">qq", *position)


def _unpacked(data: bytes, sort: Sort) -> Position:
    key, post_id = struct.unpack(">dq" if sort is Sort.HOT else ">qq", data)
    return Position(_EPOCH + key * _MICROSECOND if sort is Sort.NEW else key, post_id)
