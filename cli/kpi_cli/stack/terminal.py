"""What a running stack prints: its own messages, and the log lines of the parts, each after the name of its part."""

import re
import sys
from collections.abc import Callable
from typing import TextIO

from kpi_cli.parts import PARTS
from kpi_cli.stack.screen import Screen

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


def replace_controls(text: str) -> str:
    """A text without the characters that a terminal would take for commands; colours included."""
    return text.translate(_REPLACEMENTS)


class LogView:
    """Prints messages and, from ``follow`` to ``unfollow``, log lines; only ``close`` waits for the reader."""

    def __init__(self, logs: str, output: TextIO | None = None) -> None:
        output = output or sys.stdout
        # A command that was started without an output has no stream at all.
        self._coloured = output is not None and output.isatty()
        self._logs = logs
        self._screen = Screen(output, self._notice)
        self._following = False

    def follow(self) -> None:
        """Print log lines from now on; until then they are in their files only."""
        self._following = True

    def unfollow(self) -> None:
        """Print no further log lines; they are in their files."""
        self._following = False

    def report(self, sentence: str) -> None:
        """Print a message of the command itself."""
        self._screen.put(self._prefix("kpi", 1) + sentence, droppable=False)

    def print_text(self, text: str) -> None:
        """Print a text that is ready for this output, as the start card is."""
        self._screen.put(text.rstrip("\n"), droppable=False)

    def print_line(self, part: str, line: str) -> None:
        """Print a log line of a part, unless the reader is so far behind that it has to be dropped."""
        if self._following:
            self._screen.put(self._prefix(part, COLOURS.get(part, 0)) + self._sanitise(line))

    def on_closed(self, callback: Callable[[], None]) -> None:
        """Call this, from another thread, when the reader has closed the output."""
        self._screen.on_closed(callback)

    def close(self) -> None:
        """Print what waits, if the reader takes it in time."""
        self._screen.close()

    def _notice(self, count: int) -> str:
        lines = "1 line" if count == 1 else f"{count} lines"
        return f"{self._prefix('kpi', 1)}{lines} not shown; they are in {self._logs}"

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
