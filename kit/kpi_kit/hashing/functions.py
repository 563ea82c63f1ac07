"""The functions of hashing, without threads: for those who have a pool of their own."""

from typing import cast

from kpi_kit.hashing.ceilings import Ceilings
from kpi_kit.hashing.contract import HashFamily, HashMaker, Verify
from kpi_kit.hashing.drivers import DRIVERS
from kpi_kit.hashing.errors import RefusedHashError, RefusedPasswordError, UnknownHashError
from kpi_kit.hashing.parameters import Parameters

# No form is longer with the longest salt and digest.
_LONGEST_HASH = 512
MAX_PASSWORD_BYTES = 4096


class HashFunctions:
    """Each call takes as long as the hash does, and so does not belong on an event loop."""

    def __init__(self, parameters: Parameters | None = None, *, ceilings: Ceilings | None = None) -> None:
        chosen = parameters or Parameters()
        self._ceilings = chosen.raise_ceilings(ceilings or Ceilings())
        modules = [driver.load() for driver in DRIVERS]
        self._families = [cast("HashFamily", module.create_driver()) for module in modules]
        self._maker = cast("HashMaker", modules[0].create_maker(chosen))

    def make(self, password: str) -> str:
        """A new hash with argon2id and a random salt; RefusedPasswordError for what is no text, or over 4,096 bytes."""
        return self._maker.make(_encode(password))

    def verify(self, password: str, stored: str) -> bool:
        """Does the password match? RefusedHashError, at once, for a hash of an unknown form or above a ceiling."""
        _, verify = self._read(stored)
        try:
            given = _encode(password)
        except RefusedPasswordError:
            return False
        return verify(given)

    def check(self, stored: str) -> None:
        """RefusedHashError if ``verify`` would refuse this hash; takes microseconds."""
        self._read(stored)

    def needs_rehash(self, stored: str) -> bool:
        """Was it made by another function, or with other parameters than the current ones?"""
        return self._maker.needs_rehash(stored)

    def find_family(self, stored: str) -> str:
        """The driver that verifies this hash: argon2id, bcrypt, pbkdf2, or "none"."""
        try:
            return self._read(stored)[0]
        except RefusedHashError:
            return "none"

    def _read(self, stored: str) -> tuple[str, Verify]:
        if len(stored) <= _LONGEST_HASH:
            for family in self._families:
                verify = family.read(stored, self._ceilings)
                if verify is not None:
                    return family.name, verify
        raise UnknownHashError


def _encode(password: str) -> bytes:
    try:
        encoded = password.encode()
    except UnicodeEncodeError:
        # The error of the codec has the password in it.
        raise RefusedPasswordError("the password has a character that UTF-8 cannot encode") from None
    if len(encoded) > MAX_PASSWORD_BYTES:
        raise RefusedPasswordError(f"the password has more than {MAX_PASSWORD_BYTES} bytes")
    return encoded
