"""Makes PASETO keys, and checks them: their form, and that they are neither published nor weak."""

import re
import secrets

HEX_DIGITS = 64

# Published keys: those of the official PASETO and PASERK vectors, and counting sequences from examples.
KNOWN = (
    bytes(range(0x70, 0x90)),
    bytes([*range(0x70, 0x8F), 0x90]),
    bytes(range(0x20)),
    bytes(range(1, 0x21)),
)


def generate() -> str:
    """A new key as 64 hex digits, from the system's generator."""
    return secrets.token_hex(HEX_DIGITS // 2)


def problem(key: str) -> str:
    """What is wrong with a key, without quoting it; empty for a good one."""
    if len(key) != HEX_DIGITS:
        return f"{HEX_DIGITS} hex digits are required, but it has {len(key)} characters"
    if not re.fullmatch(r"[0-9a-fA-F]+", key):
        return f"{HEX_DIGITS} hex digits are required, but it contains other characters"
    return weakness(bytes.fromhex(key))


def weakness(key: bytes) -> str:
    """What is wrong with the bytes of a key; empty for a good one."""
    if not any(key):
        return "it is all zeros"
    if key in KNOWN:
        return "it is a key from published examples"
    half = len(key) // 2
    if any(key == (key[:period] * len(key))[: len(key)] for period in range(1, half + 1)):
        return "it repeats a short pattern"
    # 32 random bytes hold 30 different values on average, and fewer than 16 practically never.
    return "it has very few different bytes" if len(set(key)) < half else ""
