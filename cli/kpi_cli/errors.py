"""What a person sees when something fails: one sentence, the part's last words, the command that mends it."""

import errno
import os
from collections.abc import Sequence

# How people call this command: it lies in the virtual environment of the checkout, which is not on their PATH.
KPI = ".venv/bin/kpi"


def tells_of_a_full_disk(log: Sequence[str]) -> bool:
    """Whether a program's last lines say that the disk was full, whatever else they say."""
    return any(os.strerror(errno.ENOSPC) in line for line in log)


class FailureError(Exception):
    """A failure that is told in one sentence, never as a traceback.

    ``part`` is who failed (``gateway``, ``postgres``, ``disk``), ``log`` its last lines where they help,
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
        mend = [f"  mend it: {self.fix}"] if self.fix else []
        return [
            f"kpi: {self.part}: {self.sentence}",
            *(f"  {self.part} | {line}" for line in self.log),
            *mend,
        ]
