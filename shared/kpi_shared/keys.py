"""Validation of symmetric keys, and their PASERK ids."""

import base64
import hashlib
import re

KEY_BYTES = 32
_HEX_DIGITS = 2 * KEY_BYTES
# 32 random bytes have 30 distinct values on average; fewer than 16 occur once in about 10^15 keys.
_FEWEST_DISTINCT_BYTES = 16
_WELL_KNOWN = (
    # The keys of the official PASETO and PASERK test vectors are public.
    bytes(range(0x70, 0x90)),
    bytes([*range(0x70, 0x8F), 0x90]),
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
    key = bytes.fromhex(text)
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
    """The PASERK ``k4.lid`` of a local key, which identifies the key without revealing it.

    Source: the PASERK specification, operations/ID: BLAKE2b-264 over ``k4.lid.`` and the ``k4.local`` form.
    """
    if len(key) != KEY_BYTES:
        raise ValueError(f"a local key has {KEY_BYTES} bytes, got {len(key)}")
    paserk = b"k4.local." + _base64url(key)
    digest = hashlib.blake2b(b"k4.lid." + paserk, digest_size=33).digest()
    return "k4.lid." + _base64url(digest).decode("ascii")


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
