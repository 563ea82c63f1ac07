"""Keys: how they are written, and made from other secrets."""

import base64
import hashlib
import re
import secrets
from binascii import Error
from collections.abc import Mapping

from pydantic import SecretStr

from kpi_kit.crypt.errors import InvalidKeyError

KEY_BYTES = 32
_KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,32}", re.ASCII)
# BLAKE2b's limits.
MAX_PURPOSE_BYTES = 16
_MAX_SECRET_BYTES = 64
_MAX_SIZE = 64
# Shorter ones can be found by trying.
_MIN_SECRET_BYTES = 16
# A random key of 32 bytes has more in all but one of 10^16 cases; zeros and repeated texts have fewer.
_FEWEST_DISTINCT_BYTES = 16


def generate_key() -> str:
    """A new random key of 32 bytes in base64, for the settings."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode("ascii")


def derive_key(secret: bytes, *, purpose: bytes, context: bytes = b"", size: int = KEY_BYTES) -> bytes:
    """A key for one purpose, from which neither the secret nor the key of another purpose can be computed.

    It is keyed BLAKE2b (RFC 7693) of ``context``, personalised by ``purpose``. ``secret`` has 16 to 64 random bytes,
    ``purpose`` 1 to 16 of which the last is not NUL, and ``size`` is 1 to 64 bytes; InvalidKeyError
    else. A password is no such secret: it can be guessed from a key that is derived so fast.
    """
    if not _MIN_SECRET_BYTES <= len(secret) <= _MAX_SECRET_BYTES:
        raise InvalidKeyError(f"a secret of {_MIN_SECRET_BYTES} to {_MAX_SECRET_BYTES} bytes is needed")
    # BLAKE2b fills a purpose up with NUL.
    if not 0 < len(purpose) <= MAX_PURPOSE_BYTES or purpose.endswith(b"\0"):
        raise InvalidKeyError(f"a purpose of 1 to {MAX_PURPOSE_BYTES} bytes is needed, the last of which is not NUL")
    if not 0 < size <= _MAX_SIZE:
        raise InvalidKeyError(f"a key of 1 to {_MAX_SIZE} bytes can be derived")
    return hashlib.blake2b(context, key=secret, person=purpose, digest_size=size).digest()


def read_ring(keys: Mapping[str, str | SecretStr]) -> dict[str, bytes]:
    """The keys by id, in their order; InvalidKeyError unless each is 32 random bytes in base64."""
    if not keys:
        raise InvalidKeyError("at least one key is needed; kpi_kit.crypt.generate_key() makes one")
    ring = {_check_id(key_id): decode_key(key, sizes=(KEY_BYTES,)) for key_id, key in keys.items()}
    if any(len(set(key)) < _FEWEST_DISTINCT_BYTES for key in ring.values()):
        raise InvalidKeyError("a key has too few distinct bytes and can be guessed")
    return ring


def decode_key(key: str | SecretStr, *, sizes: tuple[int, ...]) -> bytes:
    """The bytes of a key in base64 or base64url; InvalidKeyError if they are not as many as one of ``sizes``."""
    text = key.get_secret_value() if isinstance(key, SecretStr) else key
    plain = text.strip().rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        decoded = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (Error, ValueError):
        decoded = b""
    if len(decoded) not in sizes:
        raise InvalidKeyError(f"a key of {' or '.join(map(str, sizes))} bytes in base64 is needed")
    return decoded


def _check_id(key_id: str) -> str:
    if not _KEY_ID.fullmatch(key_id):
        raise InvalidKeyError("the id of a key has 1 to 32 letters, digits and _ . -")
    return key_id
