"""Encryption for tests."""

from collections import Counter
from collections.abc import Sequence

from pydantic import SecretStr

from kpi_kit.crypt.crypt import Crypt
from kpi_kit.crypt.keys import generate_key
from kpi_kit.observing import Observer


class CryptFake(Crypt):
    """Encrypts with a key of its own, and counts the calls. ``rotate`` puts a new key in front of it."""

    def __init__(
        self,
        *,
        fernet_keys: Sequence[str | SecretStr] = (),
        cbc_keys: Sequence[str | SecretStr] = (),
        observer: Observer | None = None,
    ) -> None:
        self._keys = {"fake-1": SecretStr(generate_key())}
        self._older = {"fernet_keys": fernet_keys, "cbc_keys": cbc_keys}
        self._counted: Counter[str] = Counter()
        super().__init__(self._keys, **self._older, observer=observer)

    def rotate(self) -> None:
        """Encrypt with a new key from now on."""
        self._keys = {f"fake-{len(self._keys) + 1}": SecretStr(generate_key()), **self._keys}
        super().__init__(self._keys, **self._older, observer=self._observer)

    def encrypt(self, data: bytes, *, associated_data: bytes = b"") -> str:
        self._counted["encrypt"] += 1
        return super().encrypt(data, associated_data=associated_data)

    def decrypt(self, text: str, *, associated_data: bytes = b"") -> bytes:
        self._counted["decrypt"] += 1
        return super().decrypt(text, associated_data=associated_data)

    @property
    def calls(self) -> dict[str, int]:
        """How often values have been encrypted and decrypted."""
        return {operation: self._counted[operation] for operation in ("encrypt", "decrypt")}

    def assert_encrypted(self, times: int = 1) -> None:
        """AssertionError unless exactly so many values were encrypted."""
        if self._counted["encrypt"] != times:
            raise AssertionError(f"{self._counted['encrypt']} were encrypted, not {times}")

    def assert_decrypted(self, times: int = 1) -> None:
        """AssertionError unless exactly so many values were decrypted."""
        if self._counted["decrypt"] != times:
            raise AssertionError(f"{self._counted['decrypt']} were decrypted, not {times}")
