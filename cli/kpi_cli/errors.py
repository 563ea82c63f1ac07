"""What an operator sees when something fails: one sentence, the part's last log lines, and how to fix it."""

import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

# How people call this command: it is in the virtual environment of the checkout, which is not on their PATH.
KPI = ".venv/bin/kpi"


def reports_full_disk(log: Sequence[str]) -> bool:
    """Whether a program's last lines contain the system's message for a full disk."""
    return any(os.strerror(errno.ENOSPC) in line for line in log)


def suggest(word: str, known: Iterable[str], *, elsewhere: Mapping[str, str] | None = None) -> str:
    """The end of a sentence about an unknown word: what it is close to, or nothing.

    ``elsewhere``: names that other systems have for these.
    """
    same = (elsewhere or {}).get(word.lower())
    close = [same] if same else get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


class FailureError(Exception):
    """A failure that is reported in one sentence, never as a traceback.

    ``part`` is what failed (``gateway``, ``postgres``, ``disk``), ``log`` its last lines where they help,
    ``fix`` what to do about it, ``code`` the exit code of the command.
    """

    def __init__(self, part: str, sentence: str, *, fix: str = "", log: Sequence[str] = (), code: int = 1) -> None:
        super().__init__(f"{part}: {sentence}")
        self.part = part
        self.sentence = sentence
        self.fix = fix
        self.log = tuple(log)
        self.code = code

    def lines(self) -> list[str]:
        """The whole message for a terminal, one entry per line."""
        fix = [f"  Fix: {self.fix}"] if self.fix else []
        return [
            f"kpi: {self.part}: {self.sentence}",
            *(f"  {self.part} | {line}" for line in self.log),
            *fix,
        ]
