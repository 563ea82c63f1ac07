"""Validation of keys: their form, and whether they can be guessed."""

import re

from kpi_shared.paserk import PaserkType, identify

KEY_BYTES = 32
_HEX_DIGITS = 2 * KEY_BYTES
# 32 random bytes have 30 distinct values on average; fewer than 16 occur once in about 10^15 keys.
_FEWEST_DISTINCT_BYTES = 16
_WELL_KNOWN = (
    # The keys of the official PASETO and PASERK test vectors are public.
    bytes(range(0x70, 0x90)),
    bytes([*range(0x70, 0x8F), 0x90]),
    # The public keys of the official vectors, and the seed of those that are signed.
    bytes.fromhex("3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"),
    bytes.fromhex("1ce56a48c82ff99162a14bc544612674e5d61fb9317e65d4055780fdbcb4dc35"),
    bytes.fromhex("60fe37571a5d6e7d30b15154ce4a9fb92c70c870848f4ccdf1626588097f73f7"),
    bytes.fromhex("1eb9dbbbbc047c03fd70604e0071f0987e16b28b757225c11f00415d0e20b1a2"),
    bytes.fromhex("b4cbfb43df4ce210727d953e4a713307fa19bb7d9f85041438d9e11b942a3774"),
    # Typical example keys.
    bytes(range(32)),
    bytes(range(1, 33)),
)


class WeakKeyError(ValueError):
    """A key that has the wrong form or can be guessed."""


def parse_key(text: str) -> bytes:
    """Parse a key of 64 hex digits; WeakKeyError if it is invalid or weak."""
    text = text.strip()
    if not re.fullmatch(r"[0-9a-fA-F]*", text) or len(text) != _HEX_DIGITS:
        raise WeakKeyError(f"{_HEX_DIGITS} hex digits needed, got {_describe(text)}")
    return check_strength(bytes.fromhex(text))


def check_strength(key: bytes) -> bytes:
    """The key; WeakKeyError if it has been published or can be guessed."""
    if key in _WELL_KNOWN:
        raise WeakKeyError("this key has been published, so it is not secret; create one with: kpi keys new")
    if len(set(key)) < _FEWEST_DISTINCT_BYTES:
        raise WeakKeyError("this key has too few distinct bytes and can be guessed; create one with: kpi keys new")
    return key


def _describe(text: str) -> str:
    if re.fullmatch(r"[0-9a-fA-F]+", text):
        return f"{len(text)} hex digits"
    return f"{len(text)} characters" if text else "nothing"


def key_id(key: bytes) -> str:
    """The PASERK ``k4.lid`` of a local key, which identifies the key without revealing it."""
    return identify(PaserkType.LOCAL, key)
