"""The log files of a local stack: read from where it matters, of any size, and followed while parts write."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from kpi_cli.operations import log_records
from kpi_cli.operations.log_records import Filter, Record

# A longer line is read in pieces: a file without any end of a line must not fill the memory.
LINE_BYTES = 256 * 1024
_BLOCK = 1024 * 1024
# Lines are not exactly in the order of their times.
_SLACK_BYTES = 64 * 1024


def find(folder: Path, part: str | None) -> dict[str, list[Path]]:
    """The files of each part, the older first."""
    names = sorted(path.name.removesuffix(".log") for path in folder.glob("*.log")) if part is None else [part]
    files = {name: [folder / f"{name}.log.1", folder / f"{name}.log"] for name in names}
    found = {name: [path for path in paths if path.is_file()] for name, paths in files.items()}
    return {name: paths for name, paths in found.items() if paths}


def read(part: str, paths: list[Path], wanted: Filter, newest: int | None) -> Iterator[Record]:
    """The wanted records; ``newest``: at least so many lines at the end of the files, and not all that is before."""
    return log_records.read(part, _read_lines(paths, wanted, newest), wanted)


def _read_lines(paths: list[Path], wanted: Filter, newest: int | None) -> Iterator[bytes]:
    for path in paths if newest is None else _keep_end(paths, newest):
        try:
            with path.open("rb") as file:
                _go_to_start(file, wanted, newest)
                yield from iter(lambda: file.readline(LINE_BYTES), b"")
        except FileNotFoundError:
            # It was replaced by a stack that started meanwhile.
            continue


def _keep_end(paths: list[Path], newest: int) -> list[Path]:
    """Without the older file if the newer one has enough lines."""
    with paths[-1].open("rb") as file:
        return paths[-1:] if _find_tail(file, newest) > 0 else paths


def _go_to_start(file: BinaryIO, wanted: Filter, newest: int | None) -> None:
    place = 0
    if wanted.since is not None:
        place = _find_since(file, wanted.since)
    elif newest is not None:
        place = _find_tail(file, newest)
    _go_to_line(file, place)


def _go_to_line(file: BinaryIO, place: int) -> None:
    """To the first line that begins at a place or after it."""
    file.seek(max(0, place - 1))
    if place > 0:
        while (rest := file.readline(LINE_BYTES)) and not rest.endswith(b"\n"):
            pass


def _find_tail(file: BinaryIO, newest: int) -> int:
    """A place with so many ends of lines after it, or 0."""
    place, count = file.seek(0, os.SEEK_END), 0
    while place > 0 and count <= newest:
        size = min(_BLOCK, place)
        place = file.seek(place - size)
        count += file.read(size).count(b"\n")
    return place if count > newest else 0


def _find_since(file: BinaryIO, since: str) -> int:
    """A place before the first line of that time or a later one, by halving: the lines are sorted but for a few."""
    low, high = 0, file.seek(0, os.SEEK_END)
    while high - low > _SLACK_BYTES:
        middle = (low + high) // 2
        time = _find_time(file, middle, high)
        low, high = (middle, high) if time is not None and time < since else (low, middle)
    return max(0, low - _SLACK_BYTES)


def _find_time(file: BinaryIO, place: int, end: int) -> str | None:
    """The first time after a place."""
    _go_to_line(file, place)
    while file.tell() < end and (line := file.readline(LINE_BYTES)):
        if (time := log_records.find_time(line)) is not None:
            return time
    return None


class Follower:
    """Reads what is added to a log, also after the file was replaced or emptied."""

    def __init__(self, path: Path, *, from_start: bool = False) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._held = b""
        if not from_start:
            self._open()
            if self._file is not None:
                self._file.seek(0, os.SEEK_END)

    def read(self) -> Iterator[bytes]:
        """The whole lines that were added since the last call."""
        yield from self._read_file()
        if self._is_replaced():
            self.close()
            self._open()
            yield from self._read_file()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> None:
        self._held = b""
        try:
            self._file = self._path.open("rb")
        except FileNotFoundError:
            self._file = None

    def _read_file(self) -> Iterator[bytes]:
        if self._file is None:
            return
        if os.fstat(self._file.fileno()).st_size < self._file.tell():
            self._file.seek(0)
            self._held = b""
        while piece := self._file.readline(LINE_BYTES):
            self._held += piece
            if self._held.endswith(b"\n") or len(self._held) >= LINE_BYTES:
                yield self._held
                self._held = b""

    def _is_replaced(self) -> bool:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return False
        return self._file is None or os.fstat(self._file.fileno()).st_ino != found.st_ino
