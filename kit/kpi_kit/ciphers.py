"""What encrypts that which waits in a queue, so that it has no readable content at rest."""

import json
from typing import Any, Protocol

from kpi_kit.errors import KitError


class Cipher(Protocol):
    """The part of ``kpi_kit.crypt.Crypt`` that mailers and notifiers use."""

    def encrypt(self, data: bytes, *, associated_data: bytes = b"") -> str:
        """Text that only ``decrypt`` with the same ``associated_data`` can read."""

    def decrypt(self, text: str, *, associated_data: bytes = b"") -> bytes:
        """Raise an error if the text was modified or the key is not known."""


def seal(content: object, cipher: Cipher, *, of: str) -> str:
    """JSON as text that only ``unseal`` with the same ``of`` can read, such as "mail 42": no other job can have it."""
    return cipher.encrypt(json.dumps(content).encode(), associated_data=_bind(of))


def unseal(text: str, cipher: Cipher | None, *, of: str, missing: KitError) -> Any:  # noqa: ANN401 any JSON
    """What was sealed; ``missing`` is raised if there is no cipher."""
    if cipher is None:
        raise missing
    return json.loads(cipher.decrypt(text, associated_data=_bind(of)))


def _bind(of: str) -> bytes:
    return f"kpi-kit {of}".encode()
