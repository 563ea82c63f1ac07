"""Refresh tokens: a session's id, a counter, and a code that only this service can make.

No token is stored. A session's row has a counter and a secret of 256 bits; the code is an HMAC-SHA256 over id and
counter, keyed with that secret and with a key of the service. So the successor of a token can be made again when
a response was lost, read access to the database alone is not enough to make one, and ending a session ends its tokens.
"""

import base64
import hmac
import re
import struct
from typing import NamedTuple

from kpi_auth.settings.secret_keys import SecretKeys
from kpi_auth.tokens.errors import InvalidRefreshTokenError

SECRET_BYTES = 32
_CODE_BYTES = 32
# Two 64-bit numbers and the code: 48 bytes, which base64url encodes in 64 characters without padding or unused bits.
_FORM = re.compile(r"[A-Za-z0-9_-]{64}")
_NUMBERS = struct.Struct(">QQ")
_MAX_NUMBER = 2**63 - 1


class RefreshToken(NamedTuple):
    """The parts of a token, not yet known to be genuine."""

    session_id: int
    counter: int
    code: bytes


class RefreshTokens:
    """Makes tokens with the first key, and accepts those made with any."""

    def __init__(self, keys: SecretKeys) -> None:
        self._keys = keys.derive(b"kpi-refresh")

    def make(self, *, session_id: int, counter: int, secret: bytes) -> str:
        numbers = _NUMBERS.pack(session_id, counter)
        return base64.urlsafe_b64encode(numbers + _code(self._keys[0], secret, numbers)).decode("ascii")

    def is_genuine(self, token: RefreshToken, *, secret: bytes) -> bool:
        """Did this service make it for the session with this secret?"""
        numbers = _NUMBERS.pack(token.session_id, token.counter)
        return any(hmac.compare_digest(token.code, _code(key, secret, numbers)) for key in self._keys)


def parse(text: str) -> RefreshToken:
    """InvalidRefreshTokenError if the text does not have the form of a refresh token."""
    if not _FORM.fullmatch(text):
        raise InvalidRefreshTokenError
    data = base64.urlsafe_b64decode(text)
    session_id, counter = _NUMBERS.unpack(data[:-_CODE_BYTES])
    if max(session_id, counter) > _MAX_NUMBER:
        raise InvalidRefreshTokenError
    return RefreshToken(session_id, counter, data[-_CODE_BYTES:])


def _code(key: bytes, secret: bytes, numbers: bytes) -> bytes:
    # Together, the key and the secret fill one block of SHA-256.
    return hmac.digest(key + secret, numbers, "sha256")
