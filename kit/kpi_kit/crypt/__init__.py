"""Encryption of values that are stored: AES-256-GCM with a ring of keys; reads what Fastpy and Laravel wrote."""

from kpi_kit.crypt.crypt import Crypt
from kpi_kit.crypt.errors import CryptError, CryptValueError, InvalidCiphertextError, InvalidKeyError
from kpi_kit.crypt.fake import CryptFake
from kpi_kit.crypt.keys import MAX_PURPOSE_BYTES, derive_key, generate_key

__all__ = [
    "MAX_PURPOSE_BYTES",
    "Crypt",
    "CryptError",
    "CryptFake",
    "CryptValueError",
    "InvalidCiphertextError",
    "InvalidKeyError",
    "derive_key",
    "generate_key",
]
