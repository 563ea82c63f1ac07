"""A writer of log lines that never blocks its caller: a bounded queue, and a thread that writes to the descriptor.

Looked at on 2026-11-27: the standard library's ``QueueHandler`` and ``QueueListener`` (one record and one write at a
time, the queue is bounded by records of any size, nothing counts what is dropped, and ``stop`` waits for a stalled
reader without a limit) and structlog's ``WriteLogger`` (it writes in the calling thread). See docs/adr/0022.
"""

import os
import select
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

# About ten thousand lines.
MAX_QUEUED_CHARACTERS = 2 * 1024 * 1024
# How long the end of the process waits for a reader that does not read.
DRAIN_SECONDS = 1.0
# Longer writes to a pipe that several processes share could be mixed with the lines of another process.
_MAX_WRITE_CHARACTERS = select.PIPE_BUF
_GATHER_SECONDS = 0.005


class LogWriter:
    """The ``stream`` of a logging handler, whose lock serialises ``write``.

    Lines that do not fit are dropped and counted; ``report`` is called in the thread, with their number, when at least
    half of the queue is free again.
    """

    def __init__(self, file: int, report: Callable[[int], None]) -> None:
        self.dropped = 0
        self._file = file
        self._report = report
        self._reported = 0
        # Reentrant: a signal handler may log while a line is added.
        self._queue: SimpleQueue[str] = SimpleQueue()
        # Both only grow, and each is changed by one thread at a time.
        self._added = 0
        self._finished = 0
        threading.Thread(target=self._run, name="log-writer", daemon=True).start()

    def write(self, text: str) -> None:
        if self._added + len(text) - self._finished > MAX_QUEUED_CHARACTERS:
            self.dropped += 1
            return
        self._added += len(text)
        self._queue.put(text)

    def flush(self) -> None:
        """Do nothing: the handler calls it after each line."""

    def drain(self) -> None:
        """Wait until all lines are written, at most for DRAIN_SECONDS."""
        deadline = time.monotonic() + DRAIN_SECONDS
        while self._finished < self._added and time.monotonic() < deadline:
            time.sleep(0.002)

    def _run(self) -> None:
        held = ""
        while True:
            batch = held or self._wait()
            batch, held = self._extend(batch)
            try:
                self._write(batch.encode("utf-8", "backslashreplace"))
            except OSError:
                # The reader of the pipe has ended, or the disk is full.
                self.dropped += batch.count("\n")
                self._finished += len(batch)
            else:
                self._finished += len(batch)
                self._report_dropped()

    def _wait(self) -> str:
        line = self._queue.get()
        # Each time the thread runs, the event loop has to wait for it: it writes the lines of some requests together.
        time.sleep(_GATHER_SECONDS)
        return line

    def _extend(self, batch: str) -> tuple[str, str]:
        """Add the lines that are waiting and fit in one write; returns also the first that did not fit."""
        try:
            while len(batch) < _MAX_WRITE_CHARACTERS:
                line = self._queue.get_nowait()
                if len(batch) + len(line) > _MAX_WRITE_CHARACTERS:
                    return batch, line
                batch += line
        except Empty:
            pass
        return batch, ""

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._file, data) :]
            except BlockingIOError:
                # Another process that shares the terminal has made it non-blocking.
                select.select([], [self._file], [], 1)

    def _report_dropped(self) -> None:
        count = self.dropped - self._reported
        if count and self._added - self._finished < MAX_QUEUED_CHARACTERS // 2:
            self._reported += count
            self._report(count)
