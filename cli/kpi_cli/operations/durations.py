"""Lengths of time, as people write them on a command line."""

import re

from kpi_cli.errors import FailureError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_duration(part: str, text: str) -> int:
    """Seconds of ``30s``, ``15m``, ``12h`` or ``7d``; ``part`` is the command that a failure names."""
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if found is None:
        raise FailureError(part, f"{text!r} is not a time", fix="write it as 30s, 15m, 12h or 7d", code=2)
    return int(found[1]) * _UNITS[found[2]]
