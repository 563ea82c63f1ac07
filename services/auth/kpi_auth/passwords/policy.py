"""Which passwords are taken: ASVS 5.0, 6.2.1 to 6.2.4 and 6.2.11 (length, no composition rules, no common ones)."""

from functools import cache
from importlib.resources import files

MIN_LENGTH = 8
MAX_LENGTH = 256


def refusal(password: str, *, username: str, email: str) -> str | None:
    """Why a password of the right length is not taken, or None."""
    folded = password.casefold()
    if folded in {username.casefold(), email.casefold(), email.partition("@")[0].casefold()}:
        return "must not be the username or the e-mail address"
    if folded in common_passwords():
        return "is one of the most common passwords"
    return None


@cache
def common_passwords() -> frozenset[str]:
    """The most common passwords of at least MIN_LENGTH characters, in lower case."""
    return frozenset((files(__package__) / "common_passwords.txt").read_text("utf-8").splitlines())
