"""What each driver does: it verifies the stored hashes of one family. The first one makes hashes, too."""

from collections.abc import Callable
from typing import Protocol

from kpi_kit.hashing.ceilings import Ceilings

# Does the password, in UTF-8, match the hash that was read? This is the costly part.
Verify = Callable[[bytes], bool]


class HashFamily(Protocol):
    """argon2, bcrypt or PBKDF2. ``name`` is the label of its metrics."""

    name: str

    def read(self, stored: str, ceilings: Ceilings) -> Verify | None:
        """How to verify this hash; None if it belongs to another family, CostlyHashError if it is above a ceiling.

        It only reads the text, so that it costs microseconds whatever the hash asks for.
        """


class HashMaker(Protocol):
    """Makes new hashes. Passwords are in UTF-8."""

    def make(self, password: bytes) -> str: ...

    def needs_rehash(self, stored: str) -> bool:
        """Was it made by another function, or with other parameters?"""
