"""Which passwords are accepted: ASVS 5.0, 6.2.1 to 6.2.4 and 6.2.11 (length, no composition rules, no common ones)."""

import re
from functools import cache
from importlib.resources import files

from kpi_shared.product import PRODUCT

_MARKS = re.compile(r"[\W\d_]+")
_AROUND = re.compile(rf"^{_MARKS.pattern}|{_MARKS.pattern}$")
# The list of context-specific words that ASVS 5.0, 6.1.2 requires; digits and marks in and around them are ignored.
_CONTEXT_WORDS = frozenset(
    {"kpi", "kpione", "kpionekpione", _MARKS.sub("", PRODUCT.casefold())}
    | {"admin", "adminadmin", "administrator", "operator"}
)


def find_weakness(password: str, *, username: str, email: str) -> str | None:
    """Why a password of the right length is refused, or None."""
    folded = password.casefold()
    # People add digits and marks around a word to make a password.
    core = _AROUND.sub("", folded)
    own = {username.casefold(), email.casefold(), email.partition("@")[0].casefold()} - {""}
    if {folded, core} & (own | {_AROUND.sub("", name) for name in own} - {""}):
        return "must not be the username or the e-mail address"
    if _MARKS.sub("", core) in _CONTEXT_WORDS:
        return "must not be a well-known word of this platform"
    if folded in common_passwords():
        return "is one of the most common passwords"
    return None


@cache
def common_passwords() -> frozenset[str]:
    """The most common passwords of at least MIN_PASSWORD characters, in lower case."""
    return frozenset((files(__package__) / "common_passwords.txt").read_text("utf-8").splitlines())
