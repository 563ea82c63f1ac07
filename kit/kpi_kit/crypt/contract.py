"""What each form of encrypted values does."""

from typing import Protocol


class Form(Protocol):
    """One form, with its keys. ``name`` is the label of its metrics."""

    name: str

    def reads(self, text: str) -> bool:
        """Does the text look like a value in this form?"""

    def decrypt(self, text: str, associated_data: bytes) -> bytes:
        """InvalidCiphertextError for whatever is not authentic."""


class WrittenForm(Form, Protocol):
    """The form in which new values are written."""

    def encrypt(self, data: bytes, associated_data: bytes) -> str: ...

    def is_current(self, text: str) -> bool:
        """Was it encrypted with the first key? Says nothing about whether it is authentic."""
