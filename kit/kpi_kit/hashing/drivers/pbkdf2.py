"""PBKDF2-HMAC-SHA256 (RFC 8018), by hashlib: to verify what older systems stored."""

import base64
import hashlib
import hmac
import re
from binascii import Error
from functools import partial

from kpi_kit.hashing.ceilings import Ceilings
from kpi_kit.hashing.contract import Verify

# Django: the salt is a text. passlib: salt and digest are base64 with . for + and without padding. Fastpy: the salt is
# a text and the digest hexadecimal, which has another length than passlib's.
_DJANGO = re.compile(r"pbkdf2_sha256\$(\d{1,12})\$([^$]{1,128})\$([A-Za-z0-9+/]{43}=)", re.ASCII)
_PASSLIB = re.compile(r"\$pbkdf2-sha256\$(\d{1,12})\$([A-Za-z0-9./]{0,172})\$([A-Za-z0-9./]{43})", re.ASCII)
_FASTPY = re.compile(r"\$pbkdf2-sha256\$(\d{1,12})\$([0-9a-f]{1,128})\$([0-9a-f]{64})", re.ASCII)


class Family:
    """Three ways to write the same function."""

    name = "pbkdf2"

    def read(self, stored: str, ceilings: Ceilings) -> Verify | None:
        try:
            found = _read(stored)
        except (Error, ValueError):
            return None
        if found is None or found[0] < 1:
            return None
        iterations, salt, digest = found
        ceilings.check_pbkdf2(iterations=iterations)
        return partial(_verify, iterations, salt, digest)


def _read(stored: str) -> tuple[int, bytes, bytes] | None:
    if found := _DJANGO.fullmatch(stored):
        return int(found[1]), found[2].encode(), base64.b64decode(found[3])
    if found := _PASSLIB.fullmatch(stored):
        return int(found[1]), _decode_passlib(found[2]), _decode_passlib(found[3])
    if found := _FASTPY.fullmatch(stored):
        return int(found[1]), found[2].encode(), bytes.fromhex(found[3])
    return None


def _decode_passlib(text: str) -> bytes:
    return base64.b64decode(text.replace(".", "+") + "=" * (-len(text) % 4))


def _verify(iterations: int, salt: bytes, digest: bytes, password: bytes) -> bool:
    return hmac.compare_digest(hashlib.pbkdf2_hmac("sha256", password, salt, iterations), digest)


create_driver = Family
