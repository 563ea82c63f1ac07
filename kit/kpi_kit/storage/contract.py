"""What a driver of the storage does, and the values that it gives."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Literal, NamedTuple, Protocol, Self

from kpi_kit.storage.errors import StorageError

# The size of the chunks in which files are read.
CHUNK = 64 * 1024


@dataclass(frozen=True)
class FileInfo:
    """``size`` is in bytes, ``modified_at`` has a zone, ``etag`` changes with the content.

    ``content_type`` is found in the first bytes; None in a listing, which does not look at them.
    """

    path: str
    size: int
    modified_at: datetime
    etag: str
    content_type: str | None = None


class Stored(NamedTuple):
    """What was written: its size in bytes, and the type that was found in its first bytes."""

    size: int
    content_type: str


class OpenFile:
    """A file that is open: its chunks come even if another takes its place, or it is deleted, meanwhile."""

    def __init__(self, info: FileInfo, chunks: AsyncIterator[bytes], close: Callable[[], None]) -> None:
        self.info = info
        self.is_closed = False
        self._chunks = chunks
        self._close = close

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks

    def close(self) -> None:
        """Does not wait, so that it can be called from anywhere."""
        if not self.is_closed:
            self.is_closed = True
            self._close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class Signature:
    """What a signed URL allows: this method, for so long, with or giving these headers."""

    method: Literal["GET", "PUT"]
    expires_in: timedelta
    content_type: str | None = None
    disposition: str | None = None
    size: int | None = None


class StorageDriver(Protocol):
    """All paths are checked before. Errors are those of ``kpi_kit.storage.errors``."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def write(
        self, path: str, data: bytes | AsyncIterator[bytes], *, content_type: str, only_if_new: bool
    ) -> None:
        """The file is there as a whole or not at all; an error of ``data`` leaves what was there before."""

    async def read_info(self, path: str) -> FileInfo: ...

    async def open(self, path: str) -> OpenFile: ...

    def list(self, prefix: str, *, after: str) -> AsyncIterator[Sequence[FileInfo]]:
        """Pages of the files in the folder ``prefix``, in the order of the paths' bytes; all for an empty one."""

    async def copy(self, source: str, target: str, *, only_if_new: bool, is_move: bool) -> None: ...

    async def delete(self, paths: Sequence[str]) -> dict[str, StorageError]:
        """Those that could not be deleted. A file that is not there is no failure."""

    async def sign(self, path: str, signature: Signature) -> str: ...

    async def tidy(self, age: timedelta) -> int:
        """Remove what older uploads, which ended with their process, have left; how many there were."""
