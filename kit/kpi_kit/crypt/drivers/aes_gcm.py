"""AES-256-GCM (NIST SP 800-38D), by cryptography.

A value is ``kpi1.`` and base64url, without padding, of: the length of the key's id as one byte, the id, a random nonce
of 96 bits, the ciphertext, and the tag of 128 bits. Version and key id are authenticated as well.
"""

import base64
import secrets
from binascii import Error
from collections.abc import Mapping
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kpi_kit.crypt.errors import InvalidCiphertextError

PREFIX = "kpi1."
_NONCE_BYTES = 12
_TAG_BYTES = 16


class _Parts(NamedTuple):
    key_id: str
    nonce: bytes
    sealed: bytes


class AesGcm:
    """A ring of keys by id: the first encrypts, all decrypt."""

    name = "aes-256-gcm"

    def __init__(self, ring: Mapping[str, bytes]) -> None:
        self._keys = {key_id: AESGCM(key) for key_id, key in ring.items()}
        self._first = next(iter(self._keys))

    def reads(self, text: str) -> bool:
        return text.startswith(PREFIX)

    def encrypt(self, data: bytes, associated_data: bytes) -> str:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        header = _header(self._first)
        sealed = self._keys[self._first].encrypt(nonce, data, _join_authenticated(header, associated_data))
        return PREFIX + base64.urlsafe_b64encode(header + nonce + sealed).rstrip(b"=").decode("ascii")

    def decrypt(self, text: str, associated_data: bytes) -> bytes:
        key_id, nonce, sealed = _split(text)
        key = self._keys.get(key_id)
        if key is None:
            raise InvalidCiphertextError
        try:
            return key.decrypt(nonce, sealed, _join_authenticated(_header(key_id), associated_data))
        except InvalidTag:
            raise InvalidCiphertextError from None

    def is_current(self, text: str) -> bool:
        return _split(text).key_id == self._first


def _header(key_id: str) -> bytes:
    return bytes([len(key_id)]) + key_id.encode("ascii")


def _join_authenticated(header: bytes, associated_data: bytes) -> bytes:
    # The header says how long it is, so its end cannot be taken for the start of what follows.
    return PREFIX.encode() + header + associated_data


def _split(text: str) -> _Parts:
    body = text.removeprefix(PREFIX)
    try:
        decoded = base64.b64decode(body.encode("ascii") + b"=" * (-len(body) % 4), altchars=b"-_", validate=True)
        # Only one text is valid for each value: base64 has spare bits at its end.
        if not text.startswith(PREFIX) or base64.urlsafe_b64encode(decoded).rstrip(b"=").decode() != body:
            raise InvalidCiphertextError
        key_id = decoded[1 : 1 + decoded[0]].decode("ascii")
    except (Error, ValueError, IndexError):
        raise InvalidCiphertextError from None
    rest = decoded[1 + decoded[0] :]
    if not key_id or len(rest) < _NONCE_BYTES + _TAG_BYTES:
        raise InvalidCiphertextError
    return _Parts(key_id, rest[:_NONCE_BYTES], rest[_NONCE_BYTES:])


create_driver = AesGcm
