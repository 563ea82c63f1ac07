"""Files in a folder of this machine: for development, and for one machine with a disk that is backed up."""

import os
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

from kpi_shared.files.store import CHUNK, Threads, check_key, is_key

# What is being written; a name that no key begins with.
_INCOMING = ".incoming"
_MOST = 1000


class FolderStore:
    """See ``FileStore``. A file is written beside the others and renamed when it is complete and on the disk."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._threads = Threads()

    async def save(self, key: str, chunks: AsyncIterator[bytes], *, media_type: str) -> None:  # noqa: ARG002 the row has it
        path, draft = self._path(key), self._root / _INCOMING / secrets.token_hex(16)
        file = await self._threads.run(_create, draft)
        try:
            with file:
                async for chunk in chunks:
                    await self._threads.run(file.write, chunk)
                await self._threads.run(_flush, file)
            await self._threads.run(_rename, draft, path)
        except BaseException:
            # Not in a thread: a cancelled task would not wait for it.
            draft.unlink(missing_ok=True)
            raise

    async def open(self, key: str) -> "_OpenFile | None":
        try:
            return _OpenFile(await self._threads.run(_open, self._path(key)), self._threads)
        except FileNotFoundError:
            return None

    async def sign(self, key: str, *, media_type: str, disposition: str) -> str | None:  # noqa: ARG002 of the seam
        return None

    async def remove(self, *keys: str) -> dict[str, str]:
        failed = {}
        for key in keys:
            try:
                await self._threads.run(self._path(key).unlink, missing_ok=True)
            except OSError as error:
                failed[key] = error.strerror or type(error).__name__
        return failed

    async def list_old(self, prefix: str, *, age: timedelta) -> AsyncIterator[list[str]]:
        keys = await self._threads.run(self._list, prefix, time.time() - age.total_seconds())
        for start in range(0, len(keys), _MOST):
            yield keys[start : start + _MOST]

    async def close(self) -> None:
        self._threads.close()

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _list(self, prefix: str, before: float) -> list[str]:
        for draft in (self._root / _INCOMING).glob("*"):
            if _is_older(draft, before):
                # What cannot be removed now may be the next time, and stops nothing else.
                with suppress(OSError):
                    draft.unlink()
        paths = {path.relative_to(self._root).as_posix(): path for path in (self._root / prefix).glob("*/*/*")}
        return [key for key, path in paths.items() if is_key(key) and _is_older(path, before)]


def _is_older(path: Path, before: float) -> bool:
    """Whether it is a file of that age. Another replica may have removed it since it was listed."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return S_ISREG(found.st_mode) and found.st_mtime < before


class _OpenFile:
    """See ``OpenFile``."""

    def __init__(self, file: BinaryIO, threads: Threads) -> None:
        self._file = file
        self._threads = threads

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunk := await self._threads.run(self._file.read, CHUNK):
            yield chunk

    def close(self) -> None:
        self._file.close()


def _create(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path.open("xb")


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _rename(draft: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft.rename(path)
