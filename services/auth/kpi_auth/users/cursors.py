"""Where a page of users ended, as a cursor."""

import struct
from datetime import UTC, datetime, timedelta

from kpi_shared.cursors import CursorSealer, cursor_length

from kpi_auth.users.listing import Listing, Position

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ID, _TIME = ">q", ">qq"
_MAX_NAME = 32
# An id with a name of one character, as imported accounts may have, up to one with the longest name.
MIN_CURSOR, MAX_CURSOR = (cursor_length(struct.calcsize(_ID) + name) for name in (1, _MAX_NAME))


def encode(sealer: CursorSealer, position: Position, listing: Listing) -> str:
    return sealer.seal(_packed(position), of=_name(listing))


def decode(sealer: CursorSealer, cursor: str, listing: Listing) -> Position:
    """The position, or InvalidCursorError."""
    return _unpacked(sealer.open(cursor, of=_name(listing)), listing)


def _name(listing: Listing) -> str:
    search = "-" if listing.search is None else f"+{listing.search}"
    filters = f"{listing.role}\n{listing.is_active}\n{listing.deleted}\n{listing.by_admin}"
    # Nothing but the search can hold a line break, so that two lists never give the same text.
    return f"users\n{listing.sort}\n{filters}\n{search}"


def _packed(position: Position) -> bytes:
    if isinstance(position.key, datetime):
        return struct.pack(_TIME, (position.key - _EPOCH) // _MICROSECOND, position.id)
    return struct.pack(_ID, position.id) + position.key.encode()


def _unpacked(data: bytes, listing: Listing) -> Position:
    if listing.is_by_name:
        return Position(data[struct.calcsize(_ID) :].decode(), *struct.unpack_from(_ID, data))
    microseconds, user_id = struct.unpack(_TIME, data)
    return Position(_EPOCH + microseconds * _MICROSECOND, user_id)
