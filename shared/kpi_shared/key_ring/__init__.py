"""The key ring of the tokens: its keys, their states, and how it is written."""

from kpi_shared.key_ring.ring import KeyRing, Purpose, RingKey, TokenKey, TokenKeyState
from kpi_shared.key_ring.ring_file import MAX_BYTES, BadRingError, parse_ring, parse_token_key, require_active

__all__ = [
    "MAX_BYTES",
    "BadRingError",
    "KeyRing",
    "Purpose",
    "RingKey",
    "TokenKey",
    "TokenKeyState",
    "parse_ring",
    "parse_token_key",
    "require_active",
]
