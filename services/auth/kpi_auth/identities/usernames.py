"""A username for an account that an external identity opens."""

import re
import secrets
import unicodedata
from collections.abc import Iterator

from kpi_auth.accounts.fields import MAX_USERNAME

_SHORTEST = 3
_FALLBACK = "user"
# How many digits make a name free: few at first, since people read them, and then enough for sure.
_DIGITS = (0, 4, 4, 4, 10, 10, 10)
_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9_.-]+")


def candidates(wanted: str | None) -> Iterator[str]:
    """Names to try, a few of them, each of the form that registration asks for."""
    plain = _fit(wanted or "")
    for digits in _DIGITS:
        suffix = "".join(secrets.choice("0123456789") for _ in range(digits))
        yield plain[: MAX_USERNAME - digits] + suffix


def _fit(wanted: str) -> str:
    """What is left of a name or an address in plain letters; accents go, other scripts too."""
    local_part = wanted.partition("@")[0]
    plain = unicodedata.normalize("NFKD", local_part).encode("ascii", "ignore").decode("ascii")
    fitted = _NOT_ALLOWED.sub("", plain)[:MAX_USERNAME]
    return fitted if len(fitted) >= _SHORTEST else _FALLBACK
