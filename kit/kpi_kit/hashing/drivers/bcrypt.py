"""bcrypt, by the library of that name: to verify what older systems stored."""

import hashlib
import re
from functools import partial

import bcrypt

from kpi_kit.hashing.ceilings import Ceilings
from kpi_kit.hashing.contract import Verify

# $2x$ marks hashes of a PHP library whose defect concerned characters outside ASCII only: passwords in ASCII match.
_FORM = re.compile(r"(?:(bcrypt|bcrypt_sha256)\$)?(\$2[abxy]\$(\d\d)\$[./A-Za-z0-9]{53})", re.ASCII)
# What bcrypt reads of a password. All systems that stored these hashes cut longer ones silently, and so has to be done
# here for them to match: bcrypt 5.0 raises ValueError instead.
_READ_BYTES = 72
_LEAST_COST = 4
_LARGEST_COST = 31


class Family:
    """The forms of OpenBSD and PHP, and Django's two."""

    name = "bcrypt"

    def read(self, stored: str, ceilings: Ceilings) -> Verify | None:
        found = _FORM.fullmatch(stored)
        if found is None or not _LEAST_COST <= int(found[3]) <= _LARGEST_COST:
            return None
        ceilings.check_bcrypt(cost=int(found[3]))
        return partial(_verify, found[2].encode(), found[1] == "bcrypt_sha256")


def _verify(encoded: bytes, is_digested: bool, password: bytes) -> bool:
    given = hashlib.sha256(password).hexdigest().encode() if is_digested else password[:_READ_BYTES]
    try:
        return bcrypt.checkpw(given, encoded)
    except ValueError:
        # The last character of the salt has bits that no salt of 16 bytes has.
        return False


create_driver = Family
