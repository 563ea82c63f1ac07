"""Where a key ring is kept: the contract, and the one of files."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from kpi_cli import secret_files
from kpi_cli.errors import FailureError
from kpi_cli.token_keys.ring import Ring, dump, parse, require_minting

Step = Callable[[Ring], Ring]
_PATIENCE_SECONDS = 10.0
_PAUSE_SECONDS = 0.02


class Store(Protocol):
    """A key ring, and the copies of it for the parts that only verify."""

    # How long a change may take to be seen by all parts, and how often it is worth looking for one.
    pause_seconds: float

    def read(self) -> Ring:
        """The ring; raises FailureError if it cannot be used."""

    def update(self, step: Step) -> Ring:
        """Replace the ring by what ``step`` makes of it, and return that. No other change comes in between."""

    def hold_rotation(self) -> AbstractContextManager[None]:
        """One rotation runs at a time: a second one raises FailureError. The right ends with its holder, however."""


class FileStore:
    """The file of auth, and the files of the other parts, which have the same keys or only their public halves."""

    pause_seconds = 1.0

    def __init__(self, path: Path, copies: Sequence[Path] = ()) -> None:
        self.path = path
        self.copies = tuple(copies)

    def read(self) -> Ring:
        if not self.path.exists():
            raise FailureError(
                "keys", f"{self.path}: there is no such file", fix="docs/keys.md says how to make a ring"
            )
        return parse(self._read_text(), str(self.path))

    def _read_text(self) -> str:
        try:
            return secret_files.read(self.path)
        except (OSError, UnicodeDecodeError) as error:
            problem = getattr(error, "strerror", None) or "it is no key ring"
            raise FailureError("keys", f"{self.path}: {problem}", fix="name auth's key ring", code=2) from None

    def update(self, step: Step) -> Ring:
        with self._lock("lock", _PATIENCE_SECONDS, "another command changes it"):
            ring = step(require_minting(self.read(), str(self.path)))
            self._write(ring)
            return ring

    def make(self, step: Callable[[Ring | None], Ring]) -> Ring:
        """As ``update``, also if there is no ring yet."""
        with self._lock("lock", _PATIENCE_SECONDS, "another command changes it"):
            ring = step(self.read() if self._read_text() else None)
            self._write(ring)
            return ring

    def _write(self, ring: Ring) -> None:
        """The copies are complete after any kill: the next command writes those that it finds different."""
        for path, text in ((self.path, dump(ring)), *((copy, dump(ring.for_verifiers())) for copy in self.copies)):
            if secret_files.read(path) != text:
                secret_files.write(path, text)

    @contextmanager
    def hold_rotation(self) -> Iterator[None]:
        with self._lock("rotation", 0, "another rotation is under way"):
            yield

    @contextmanager
    def _lock(self, name: str, patience: float, problem: str) -> Iterator[None]:
        """A lock on a file beside the ring, which itself is replaced by each change."""
        descriptor = os.open(self.path.with_name(f".{self.path.name}.{name}"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if not _acquire(descriptor, patience):
                raise FailureError("keys", f"{self.path}: {problem}", fix="wait until it has ended; kpi keys status")
            yield
        finally:
            os.close(descriptor)


def _acquire(descriptor: int, patience: float) -> bool:
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(_PAUSE_SECONDS)
        else:
            return True
