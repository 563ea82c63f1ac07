"""Usernames for accounts that an external identity creates."""

import re
import secrets
import unicodedata
from collections.abc import Iterator

from kpi_auth.accounts.fields import MAX_USERNAME

_SHORTEST = 3
_FALLBACK = "user"
# The number of random digits for each try: few at first, for readability, then enough to be unique.
_DIGITS = (0, 4, 4, 4, 10, 10, 10)
_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9_.-]+")


def candidates(wanted: str | None) -> Iterator[str]:
    """Usernames to try, each in the form that registration requires."""
    plain = fit(wanted or "")
    for digits in _DIGITS:
        suffix = "".join(secrets.choice("0123456789") for _ in range(digits))
        yield plain[: MAX_USERNAME - digits] + suffix


def fit(wanted: str) -> str:
    """A name or an address reduced to ASCII; accents and other scripts are removed."""
    local_part = wanted.partition("@")[0]
    plain = unicodedata.normalize("NFKD", local_part).encode("ascii", "ignore").decode("ascii")
    fitted = _NOT_ALLOWED.sub("", plain)[:MAX_USERNAME]
    return fitted if len(fitted) >= _SHORTEST else _FALLBACK
