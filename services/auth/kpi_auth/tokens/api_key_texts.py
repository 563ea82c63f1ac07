"""The text of an API key: ``kpi_<live|test>_<key id>_<secret><checksum>``.

The id finds the row. The secret has 256 bits, in 43 digits of base 62. The checksum, 6 digits of base 62, is the CRC-32
of all that precedes it: it refuses a typing error without a look-up, and secret scanners recognise a key by it.
"""

import hmac
import secrets
from collections.abc import Sequence

from kpi_shared.api_key_form import (
    CHECKSUM_DIGITS,
    PREFIX,
    SECRET_DIGITS,
    KeyText,
    checksum,
    parse_key_text,
    to_base62,
)
from kpi_shared.settings import Environment

from kpi_auth.tokens.errors import InvalidKeyError

# The purpose of the keys that API keys are hashed under.
API_KEYS = b"kpi-api-keys"
PATTERN = r"kpi_(?:live|test)_[1-9][0-9]{0,18}_[0-9A-Za-z]{49}"
MAX_LENGTH = 78
_SECRET_BITS = 256
# How much of the secret is kept for people: 4 of its 43 digits.
_SHOWN_DIGITS = 4


class KeyHasher:
    """Hashes keys for the database under a key that is not in it, so that read access to it is not enough."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        # The first one hashes new keys.
        self._keys = keys

    def hash(self, text: KeyText) -> bytes:
        return _mac(self._keys[0], text)

    def matches(self, text: KeyText, secret_hash: bytes) -> bool:
        return any(hmac.compare_digest(secret_hash, _mac(key, text)) for key in self._keys)


def make(*, key_id: int, environment: Environment) -> str:
    """A new key; ``live`` in production and ``test`` elsewhere."""
    kind = "live" if environment is Environment.PRODUCTION else "test"
    body = f"{PREFIX}{kind}_{key_id}_{to_base62(secrets.randbits(_SECRET_BITS), SECRET_DIGITS)}"
    return body + checksum(body)


def parse(text: str) -> KeyText:
    """InvalidKeyError if the text does not have the form of a key or its checksum is wrong."""
    found = parse_key_text(text)
    if found is None:
        raise InvalidKeyError
    return found


def shown_prefix(text: str) -> str:
    """The first characters of a key, by which people recognise it."""
    return text[: -(SECRET_DIGITS + CHECKSUM_DIGITS - _SHOWN_DIGITS)]


def _mac(key: bytes, text: KeyText) -> bytes:
    return hmac.digest(key, text.body.encode("ascii"), "sha256")
