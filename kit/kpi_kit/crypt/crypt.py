"""Encrypt values that are stored."""

import json
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self, cast

from pydantic import JsonValue, SecretStr

from kpi_kit.crypt.contract import Form, WrittenForm
from kpi_kit.crypt.drivers import DRIVERS
from kpi_kit.crypt.errors import CryptValueError, InvalidCiphertextError
from kpi_kit.crypt.keys import read_ring
from kpi_kit.observing import Observer, observe

_AES_GCM, _FERNET, _AES_CBC = DRIVERS


class Crypt:
    """AES-256-GCM with a ring of keys: the first encrypts, all decrypt.

    No method is a coroutine: each takes microseconds for values of a few kilobytes. The class is a context manager like
    the other libraries', though there is nothing to close.
    """

    def __init__(
        self,
        keys: Mapping[str, str | SecretStr],
        *,
        fernet_keys: Sequence[str | SecretStr] = (),
        cbc_keys: Sequence[str | SecretStr] = (),
        observer: Observer | None = None,
    ) -> None:
        """``keys`` are by id, each of 32 bytes in base64 (``generate_key``); InvalidKeyError else.

        With ``fernet_keys`` and ``cbc_keys`` it also reads what Fastpy and Laravel wrote.
        """
        self._observer = observer
        self._encrypter = cast("WrittenForm", _AES_GCM.load().create_driver(read_ring(keys)))
        older = [
            cast("Form", driver.load().create_driver(of))
            for driver, of in ((_FERNET, fernet_keys), (_AES_CBC, cbc_keys))
            if of
        ]
        self._ciphers: list[Form] = [self._encrypter, *older]

    def encrypt(self, data: bytes, *, associated_data: bytes = b"") -> str:
        """A text of ASCII letters, digits and ``. - _``, a third longer than the data, with 40 to 80 characters more.

        Only with the same ``associated_data`` can it be decrypted: give what the value belongs to, such as
        ``b"users.phone:42"``, so that no other row's value can be put in its place. It is not part of the text.
        """
        with observe(self._observer, "crypt", "encrypt", self._encrypter.name):
            return self._encrypter.encrypt(data, associated_data)

    def decrypt(self, text: str, *, associated_data: bytes = b"") -> bytes:
        """InvalidCiphertextError if it is not authentic. What Fernet or AES-CBC wrote has no associated data."""
        cipher = self._find_cipher(text)
        with observe(self._observer, "crypt", "decrypt", cipher.name):
            return cipher.decrypt(text, associated_data)

    def encrypt_json(self, value: JsonValue, *, associated_data: bytes = b"") -> str:
        """Encrypt any JSON value, such as a dict or a number; CryptValueError for another. See ``encrypt``."""
        try:
            data = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        except (ValueError, TypeError, RecursionError):
            raise CryptValueError from None
        # As json.loads decodes bytes: JSON may have half of a surrogate pair.
        return self.encrypt(data.encode("utf-8", "surrogatepass"), associated_data=associated_data)

    def decrypt_json(self, text: str, *, associated_data: bytes = b"") -> JsonValue:
        """See ``decrypt``; InvalidCiphertextError also if the decrypted value is no JSON."""
        try:
            value: JsonValue = json.loads(self.decrypt(text, associated_data=associated_data))
        except (ValueError, RecursionError):
            raise InvalidCiphertextError from None
        return value

    def needs_reencryption(self, text: str) -> bool:
        """Was it encrypted with another key than the first, or in an older form?

        It looks at the form alone: InvalidCiphertextError for a text that has none of the known ones. Only decrypting
        finds out whether a value is authentic, as ``reencrypt`` does.
        """
        return self._find_cipher(text) is not self._encrypter or not self._encrypter.is_current(text)

    def reencrypt(self, text: str, *, associated_data: bytes = b"") -> str:
        """The same value, encrypted with the first key. An older form gets the associated data in the process."""
        return self.encrypt(self.decrypt(text, associated_data=associated_data), associated_data=associated_data)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close nothing."""

    def _find_cipher(self, text: str) -> Form:
        found = next((cipher for cipher in self._ciphers if cipher.reads(text)), None)
        if found is None:
            raise InvalidCiphertextError
        return found
