"""AES-CBC with HMAC-SHA256 in Fastpy's and Laravel's form: to read what was written before.

A value is base64 of the JSON object ``{"iv": ..., "value": ..., "mac": ...}``. The first two are base64, and ``mac`` is
the HMAC of both texts, one after the other, under the key of the encryption, in hexadecimal digits.
"""

import base64
import hmac
import json
from binascii import Error
from collections.abc import Sequence

from cryptography.hazmat.primitives.ciphers import Cipher as BlockCipher
from cryptography.hazmat.primitives.ciphers import algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from pydantic import SecretStr

from kpi_kit.crypt.errors import InvalidCiphertextError
from kpi_kit.crypt.keys import decode_key

# base64 of '{"', with which a JSON object begins.
_START = "eyJ"
_LARAVEL = "base64:"
_KEY_SIZES = (16, 24, 32)
_BLOCK_BITS = 128


class AesCbc:
    """Values under any of the keys. They have no associated data, so none is checked."""

    name = "aes-cbc"

    def __init__(self, keys: Sequence[str | SecretStr]) -> None:
        self._keys = [_read_key(key) for key in keys]

    def reads(self, text: str) -> bool:
        return text.startswith(_START)

    def decrypt(self, text: str, _associated_data: bytes) -> bytes:
        try:
            iv, value, mac = _read(text)
            key = self._find_key(iv + value, mac)
            return _decrypt(key, base64.b64decode(iv, validate=True), base64.b64decode(value, validate=True))
        except (Error, ValueError, KeyError, TypeError, RecursionError):
            raise InvalidCiphertextError from None

    def _find_key(self, signed: str, mac: str) -> bytes:
        """The key that made the MAC. It is checked before anything is decrypted: padding must tell nothing."""
        for key in self._keys:
            if hmac.compare_digest(hmac.digest(key, signed.encode(), "sha256").hex().encode(), mac.encode()):
                return key
        raise InvalidCiphertextError


def _read(text: str) -> tuple[str, str, str]:
    payload = json.loads(base64.b64decode(text, validate=True))
    iv, value, mac = payload["iv"], payload["value"], payload["mac"]
    if not all(isinstance(part, str) for part in (iv, value, mac)):
        raise InvalidCiphertextError
    return iv, value, mac


def _decrypt(key: bytes, iv: bytes, value: bytes) -> bytes:
    decryptor = BlockCipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    unpadder = PKCS7(_BLOCK_BITS).unpadder()
    return unpadder.update(decryptor.update(value) + decryptor.finalize()) + unpadder.finalize()


def _read_key(key: str | SecretStr) -> bytes:
    text = key.get_secret_value() if isinstance(key, SecretStr) else key
    return decode_key(text.removeprefix(_LARAVEL), sizes=_KEY_SIZES)


create_driver = AesCbc
