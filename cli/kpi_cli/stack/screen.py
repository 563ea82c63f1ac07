"""Writes to a terminal or a pipe from a thread, so that a reader that pauses never holds the caller up.

A terminal stops reading at Ctrl-S, a pager when its page is full, and an SSH session when its network does. A write
then waits for as long as that lasts, and a program that writes in its event loop does nothing else meanwhile.
"""

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

# What waits for a reader that pauses. A line is held for as long as this is not exceeded.
LIMIT_BYTES = 1024 * 1024
# At the end of the command, how long a reader is waited for: one that has stopped reading, and one that is slow.
STALLED_SECONDS = 1.0
CLOSE_SECONDS = 5.0
_BATCH_LINES = 200

Notice = Callable[[int], str]


class Screen:
    """A bounded queue of lines in front of one output, and the thread that writes them in their order.

    What does not fit is dropped and counted. The next line is accepted only after everything that waits has been
    written, so that a slow reader gets whole passages with one ``notice`` between them that has the number of lines.
    """

    def __init__(self, output: TextIO | None, notice: Notice, limit: int = LIMIT_BYTES) -> None:
        self._descriptor = _duplicate(output)
        self._encoding = getattr(output, "encoding", None) or "utf-8"
        self._notice = notice
        self._limit = limit
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._dropped = 0
        self._written = 0
        self._is_closing = False
        self._is_closed = False
        self._on_closed: Callable[[], None] = lambda: None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="screen", daemon=True)
        self._thread.start()

    def put(self, line: str, *, droppable: bool = True) -> None:
        """Accept a line for the output; it never waits."""
        data = f"{line}\n".encode(self._encoding, "backslashreplace")
        with self._changed:
            full = self._dropped or self._bytes + len(data) > self._limit
            if self._is_closed or (droppable and full):
                self._dropped += 1
                return
            self._lines.append(data)
            self._bytes += len(data)
            self._changed.notify()

    def on_closed(self, callback: Callable[[], None]) -> None:
        """Call this from the thread once the reader has closed the output, and at once if it already has."""
        with self._changed:
            self._on_closed = callback
            closed = self._is_closed
        if closed:
            callback()

    def close(self) -> None:
        """Write what waits, for as long as the reader takes it; what it has not taken in time is left."""
        with self._changed:
            if self._is_closing:
                return
            self._on_closed = lambda: None
            self._is_closing = True
            self._changed.notify()
        before, end = -1, time.monotonic() + CLOSE_SECONDS
        while self._thread.is_alive() and self._written != before and time.monotonic() < end:
            before = self._written
            self._thread.join(STALLED_SECONDS)

    def _run(self) -> None:
        try:
            while batch := self._take():
                self._write(batch)
        except OSError:
            self._report_closed()
        finally:
            os.close(self._descriptor)

    def _take(self) -> bytes:
        """The next lines; empty at the end."""
        with self._changed:
            while not (self._lines or self._dropped or self._is_closing):
                self._changed.wait()
            lines = [self._lines.popleft() for _ in range(min(len(self._lines), _BATCH_LINES))]
            self._bytes -= sum(map(len, lines))
            if not self._lines and self._dropped:
                lines.append(f"{self._notice(self._dropped)}\n".encode(self._encoding, "backslashreplace"))
                self._dropped = 0
            return b"".join(lines)

    def _write(self, data: bytes) -> None:
        while data:
            try:
                count = os.write(self._descriptor, data)
            except BlockingIOError:
                # Another program has set the terminal to non-blocking mode.
                select.select([], [self._descriptor], [], STALLED_SECONDS)
                continue
            data = data[count:]
            self._written += count

    def _report_closed(self) -> None:
        with self._changed:
            self._is_closed = True
            self._lines.clear()
            callback = self._on_closed
        callback()


def print_in_time(text: str, output: TextIO | None) -> None:
    """Print a last message, and give up when the reader does not take it."""
    screen = Screen(output, notice=str)
    screen.put(text, droppable=False)
    screen.close()


def _duplicate(output: TextIO | None) -> int:
    """A descriptor of its own for the output: writing to Python's stream would hold a lock that the exit needs."""
    if output is None:
        return os.open(os.devnull, os.O_WRONLY)
    output.flush()
    return os.dup(output.fileno())
