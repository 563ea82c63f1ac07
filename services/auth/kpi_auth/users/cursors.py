"""Where a page of users ended, as a cursor."""

import struct
from datetime import UTC, datetime, timedelta

from kpi_shared.cursors import CursorSealer, cursor_length

from kpi_auth.accounts.filters import Position, UserFilter

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ID, _TIME = ">q", ">qq"
_MAX_NAME = 32
# An id with a name of one character, as imported accounts may have, up to one with the longest name.
MIN_CURSOR, MAX_CURSOR = (cursor_length(struct.calcsize(_ID) + name) for name in (1, _MAX_NAME))


def encode(sealer: CursorSealer, position: Position, user_filter: UserFilter) -> str:
    return sealer.seal(_pack(position), of=_name(user_filter))


def decode(sealer: CursorSealer, cursor: str, user_filter: UserFilter) -> Position:
    """The position, or InvalidCursorError."""
    return _unpack(sealer.open(cursor, of=_name(user_filter)), user_filter)


def _name(user_filter: UserFilter) -> str:
    search = "-" if user_filter.search is None else f"+{user_filter.search}"
    filters = f"{user_filter.role}\n{user_filter.is_active}\n{user_filter.deleted}\n{user_filter.by_admin}"
    # Nothing but the search can hold a line break, so that two lists never give the same text.
    return f"users\n{user_filter.sort}\n{filters}\n{search}"


def _pack(position: Position) -> bytes:
    if isinstance(position.key, datetime):
        return struct.pack(_TIME, (position.key - _EPOCH) // _MICROSECOND, position.id)
    return struct.pack(_ID, position.id) + position.key.encode()


def _unpack(data: bytes, user_filter: UserFilter) -> Position:
    if user_filter.is_by_name:
        return Position(data[struct.calcsize(_ID) :].decode(), *struct.unpack_from(_ID, data))
    microseconds, user_id = struct.unpack(_TIME, data)
    return Position(_EPOCH + microseconds * _MICROSECOND, user_id)
