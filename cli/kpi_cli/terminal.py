"""What a running stack prints: its own sentences, and the parts' log lines behind the part's name."""

import os
import re
import sys
from collections.abc import Callable
from typing import TextIO

NAME_WIDTH = len("postgres")
COLOURS = {"auth": 36, "content": 32, "gateway": 35, "postgres": 34}

# Colours are the one thing that a log line may ask of a terminal.
_COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")
_NO_COLOUR = "\x1b[0m"

# A log line may quote what a stranger sent; other control characters in it would be commands to the terminal.
_HARMLESS = {code: "�" for code in (*range(0x20), 0x7F, *range(0x80, 0xA0)) if code != ord("\t")}


def plain(line: str) -> str:
    """A log line without its colours."""
    return _COLOUR.sub("", line)


class LogView:
    """Prints sentences, and from ``follow`` on parts' lines too; ``on_closed`` hears of a closed output."""

    def __init__(self, output: TextIO | None = None) -> None:
        self._output = output or sys.stdout
        self._coloured = self._output.isatty()
        self._following = False
        self.on_closed: Callable[[], None] = lambda: None

    def follow(self) -> None:
        """From now on log lines are shown; before, they are in their files only."""
        self._following = True

    def tell(self, sentence: str) -> None:
        """A sentence of the command itself."""
        self._print(self._prefix("kpi", 1) + sentence)

    def line(self, part: str, line: str) -> None:
        """A log line of a part."""
        if self._following:
            self._print(self._prefix(part, COLOURS.get(part, 0)) + self._harmless(line))

    def _harmless(self, line: str) -> str:
        pieces = _COLOUR.split(line) if self._coloured else [plain(line)]
        # The pattern is a group, so the pieces at odd places are the colours that it found.
        clean = "".join(piece if place % 2 else piece.translate(_HARMLESS) for place, piece in enumerate(pieces))
        return clean + _NO_COLOUR if len(pieces) > 1 else clean

    def _prefix(self, name: str, colour: int) -> str:
        text = f"{name:<{NAME_WIDTH}} | "
        return f"\x1b[{colour}m{text}{_NO_COLOUR}" if self._coloured else text

    def _print(self, text: str) -> None:
        try:
            self._output.write(text + "\n")
            self._output.flush()
        except OSError:
            # Nobody reads any more: a foreground program ends then, and takes its stack along.
            self._give_up()
            self.on_closed()

    def _give_up(self) -> None:
        # Python tries the unwritten text once more at its end, and would complain in the place of a parting word.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._output.fileno())
        os.close(nowhere)
