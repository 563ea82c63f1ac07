"""argon2 (RFC 9106), by argon2-cffi."""

import re
from functools import partial

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from kpi_kit.hashing.ceilings import Ceilings
from kpi_kit.hashing.contract import Verify
from kpi_kit.hashing.parameters import Parameters

# A salt of 8 to 64 bytes and a digest of 16 to 64: one of the 4 bytes that argon2 allows is soon matched by chance.
# Without a version it is the first one, 16.
_FORM = re.compile(
    r"\$argon2(?:id|i|d)\$(?:v=(?:16|19)\$)?m=(\d{1,10}),t=(\d{1,10}),p=(\d{1,10})"
    r"\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}",
    re.ASCII,
)
# Django writes the name of its hasher before the hash.
_DJANGO = "argon2$argon2"
_PASSWORDS = PasswordHasher()


class Family:
    """Any variant of argon2; each hash says which it is."""

    name = "argon2id"

    def read(self, stored: str, ceilings: Ceilings) -> Verify | None:
        encoded = stored.removeprefix("argon2") if stored.startswith(_DJANGO) else stored
        found = _FORM.fullmatch(encoded)
        if found is None:
            return None
        memory, passes, lanes = map(int, found.groups())
        ceilings.check_argon2(memory_kib=memory, passes=passes, lanes=lanes)
        return partial(_verify, encoded)


def _verify(encoded: str, password: bytes) -> bool:
    try:
        return _PASSWORDS.verify(encoded, password)
    except (VerificationError, InvalidHashError):
        # The second is a hash that the form above allows and the library does not, such as one of 0 passes.
        return False


class Maker:
    """argon2id with a random salt."""

    def __init__(self, parameters: Parameters) -> None:
        self._argon2 = PasswordHasher(
            time_cost=parameters.time_cost, memory_cost=parameters.memory_kib, parallelism=parameters.parallelism
        )

    def make(self, password: bytes) -> str:
        return self._argon2.hash(password)

    def needs_rehash(self, stored: str) -> bool:
        try:
            return self._argon2.check_needs_rehash(stored)
        except InvalidHashError:
            return True


create_driver = Family
create_maker = Maker
