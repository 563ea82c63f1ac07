"""Fernet (https://github.com/fernet/spec), by cryptography: to read what was written before."""

import base64
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

from kpi_kit.crypt.errors import InvalidCiphertextError, InvalidKeyError
from kpi_kit.crypt.keys import KEY_BYTES, decode_key

# The version, 0x80, and the first bytes of a time before the year 2106.
_START = "gAAAAA"


class FernetForm:
    """Tokens of any age. They have no associated data, so none is checked."""

    name = "fernet"

    def __init__(self, keys: Sequence[str | SecretStr]) -> None:
        self._fernet = MultiFernet([Fernet(base64.urlsafe_b64encode(_read_key(key))) for key in keys])

    def reads(self, text: str) -> bool:
        return text.startswith(_START)

    def decrypt(self, text: str, _associated_data: bytes) -> bytes:
        try:
            return self._fernet.decrypt(text)
        except (InvalidToken, ValueError):
            raise InvalidCiphertextError from None


def _read_key(key: str | SecretStr) -> bytes:
    """In base64; or, as Fastpy allows it, a text of 32 characters that is the key itself."""
    try:
        return decode_key(key, sizes=(KEY_BYTES,))
    except InvalidKeyError:
        text = key.get_secret_value() if isinstance(key, SecretStr) else key
        if len(text) == len(text.encode("utf-8", "replace")) == KEY_BYTES:
            return text.encode()
        raise


create_driver = FernetForm
