"""Files in the memory of this process."""

import secrets
from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

from kpi_kit.errors import UrlError
from kpi_kit.storage.contract import CHUNK, FileInfo, OpenFile, Signature
from kpi_kit.storage.errors import (
    AlreadyStoredError,
    CannotSignError,
    NotStoredError,
    PathConflictError,
    StorageError,
)
from kpi_kit.urls import Url


def create_driver(url: Url) -> "MemoryDriver":
    if url.host or url.port or url.username or url.path.strip("/"):
        raise UrlError("the URL of a storage in memory is memory://")
    return MemoryDriver()


class MemoryDriver:
    """See ``StorageDriver``. A file that is uploaded in chunks is held as a whole before it takes its place."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[FileInfo, bytes]] = {}

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def write(
        self, path: str, data: bytes | AsyncIterator[bytes], *, content_type: str, only_if_new: bool
    ) -> None:
        whole = data if isinstance(data, bytes) else b"".join([chunk async for chunk in data])
        self._check_place(path, only_if_new=only_if_new)
        self._files[path] = FileInfo(path, len(whole), datetime.now(UTC), secrets.token_hex(8), content_type), whole

    async def read_info(self, path: str) -> FileInfo:
        return self._find(path)[0]

    async def open(self, path: str) -> OpenFile:
        info, data = self._find(path)
        return OpenFile(info, _split(data), lambda: None)

    async def list(self, prefix: str, *, after: str) -> AsyncIterator[Sequence[FileInfo]]:
        start = f"{prefix}/" if prefix else ""
        paths = sorted(path for path in self._files if path.startswith(start))
        found = [self._files[path][0] for path in paths[bisect_right(paths, after) :]]
        yield [FileInfo(info.path, info.size, info.modified_at, info.etag) for info in found]

    async def copy(self, source: str, target: str, *, only_if_new: bool, is_move: bool) -> None:
        info, data = self._find(source)
        await self.write(target, data, content_type=info.content_type or "", only_if_new=only_if_new)
        if is_move:
            del self._files[source]

    async def delete(self, paths: Sequence[str]) -> dict[str, StorageError]:
        for path in paths:
            self._files.pop(path, None)
        return {}

    async def sign(self, path: str, signature: Signature) -> str:
        del path, signature
        raise CannotSignError("memory")

    async def tidy(self, age: timedelta) -> int:
        del age
        return 0

    def _find(self, path: str) -> tuple[FileInfo, bytes]:
        if path not in self._files:
            raise NotStoredError(path)
        return self._files[path]

    def _check_place(self, path: str, *, only_if_new: bool) -> None:
        """As a folder does, so that what is tested in memory works there, too."""
        if path in self._files:
            if only_if_new:
                raise AlreadyStoredError(path)
            return
        names = path.split("/")
        folders = {"/".join(names[:count]) for count in range(1, len(names))}
        if folders & self._files.keys() or any(each.startswith(f"{path}/") for each in self._files):
            raise PathConflictError(path)


async def _split(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), CHUNK):
        yield data[start : start + CHUNK]
