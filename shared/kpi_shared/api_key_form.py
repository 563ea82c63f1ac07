"""The form of an API key, ``kpi_<live|test>_<key id>_<secret><checksum>``, which auth writes and the gateway checks.

The checksum, 6 digits of base 62, is the CRC-32 of all that precedes it: it refuses a typing error without a look-up,
and secret scanners recognise a key by it.
"""

import re
import zlib
from typing import NamedTuple

PREFIX = "kpi_"
SECRET_DIGITS, CHECKSUM_DIGITS = 43, 6
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_FORM = re.compile(rf"(kpi_(?:live|test)_([1-9][0-9]{{0,18}})_[0-9A-Za-z]{{{SECRET_DIGITS}}})([0-9A-Za-z]{{6}})")
_MAX_ID = 2**63 - 1


class KeyText(NamedTuple):
    """The parts of a key whose checksum is right, not yet known to be genuine. ``body`` is all but the checksum."""

    key_id: int
    body: str


def parse_key_text(text: str) -> KeyText | None:
    """None if the text does not have the form of a key or its checksum is wrong."""
    found = _FORM.fullmatch(text)
    if found is None or checksum(found[1]) != found[3] or int(found[2]) > _MAX_ID:
        return None
    return KeyText(int(found[2]), found[1])


def checksum(body: str) -> str:
    return to_base62(zlib.crc32(body.encode("ascii")), CHECKSUM_DIGITS)


def to_base62(number: int, digits: int) -> str:
    found = ""
    for _ in range(digits):
        number, digit = divmod(number, len(_DIGITS))
        found = _DIGITS[digit] + found
    return found
