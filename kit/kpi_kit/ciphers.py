"""What encrypts that which waits in a queue, so that it has no readable content at rest."""

from typing import Protocol


class Cipher(Protocol):
    """The part of ``kpi_kit.crypt.Crypt`` that mailers and notifiers use."""

    def encrypt(self, data: bytes, *, associated_data: bytes = b"") -> str:
        """Text that only ``decrypt`` with the same ``associated_data`` can read."""

    def decrypt(self, text: str, *, associated_data: bytes = b"") -> bytes:
        """Raise an error if the text was modified or the key is not known."""
