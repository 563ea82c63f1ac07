"""What a running stack prints: its own messages, and the log lines of the parts, each after the name of its part."""

import os
import re
import sys
from collections.abc import Callable
from typing import TextIO

from kpi_cli.parts import PARTS

COLOURS = {**{part.name: part.colour for part in PARTS}, "postgres": 34}
NAME_WIDTH = max(map(len, COLOURS))

# Colours are the only control sequences that a log line may send to the terminal.
_COLOUR = re.compile(r"(\x1b\[[0-9;]*m)")
_NO_COLOUR = "\x1b[0m"

# A log line may quote a client's input; other control characters in it would be commands to the terminal.
_REPLACEMENTS = {code: "�" for code in (*range(0x20), 0x7F, *range(0x80, 0xA0)) if code != ord("\t")}


def strip_colours(line: str) -> str:
    """A log line without its colours."""
    return _COLOUR.sub("", line)


class LogView:
    """Prints messages and, from ``follow`` on, log lines; it calls ``on_closed`` when its output is closed."""

    def __init__(self, output: TextIO | None = None) -> None:
        self._output = output or sys.stdout
        self._coloured = self._output.isatty()
        self._following = False
        self.on_closed: Callable[[], None] = lambda: None

    def follow(self) -> None:
        """Print log lines from now on; until then they are in their files only."""
        self._following = True

    def report(self, sentence: str) -> None:
        """Print a message of the command itself."""
        self._print(self._prefix("kpi", 1) + sentence)

    def print_line(self, part: str, line: str) -> None:
        """Print a log line of a part."""
        if self._following:
            self._print(self._prefix(part, COLOURS.get(part, 0)) + self._sanitise(line))

    def _sanitise(self, line: str) -> str:
        pieces = _COLOUR.split(line) if self._coloured else [strip_colours(line)]
        # The pattern is a group, so the pieces at odd positions are the colours that it found.
        clean = "".join(
            piece if position % 2 else piece.translate(_REPLACEMENTS) for position, piece in enumerate(pieces)
        )
        return clean + _NO_COLOUR if len(pieces) > 1 else clean

    def _prefix(self, name: str, colour: int) -> str:
        text = f"{name:<{NAME_WIDTH}} | "
        return f"\x1b[{colour}m{text}{_NO_COLOUR}" if self._coloured else text

    def _print(self, text: str) -> None:
        try:
            self._output.write(text + "\n")
            self._output.flush()
        except OSError:
            # The reader has closed the pipe: a foreground program ends then, and its stack with it.
            self._discard_output()
            self.on_closed()

    def _discard_output(self) -> None:
        # At its end Python writes the buffered text again, and would print an error.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._output.fileno())
        os.close(nowhere)
