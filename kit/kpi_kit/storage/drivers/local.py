"""Files in a folder of this machine.

Not over obstore 0.12.1 (November 2026): its LocalStore follows symbolic links out of the folder, calls no fsync, makes
files that all users can read, and holds a whole stream in memory where a file is to be new (docs/adr/0063-storage.md).
"""

import errno
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from io import FileIO
from itertools import islice
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import ParamSpec, TypeVar

from kpi_kit.errors import UrlError
from kpi_kit.storage.contract import CHUNK, FileInfo, OpenFile, Signature
from kpi_kit.storage.drivers.local_folders import make_folder, open_folder, remove_empty, walk
from kpi_kit.storage.errors import (
    AlreadyStoredError,
    CannotSignError,
    NotStoredError,
    PathConflictError,
    StorageError,
    StorageRefusedError,
    StorageUnavailableError,
)
from kpi_kit.storage.paths import is_path
from kpi_kit.storage.sniffing import LOOKED_AT, sniff
from kpi_kit.storage.threads import Threads
from kpi_kit.urls import Url

P = ParamSpec("P")
Result = TypeVar("Result")

# What is being written; a name that no path has.
INCOMING = ".incoming"
_PAGE = 1000
_MAY_PASS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ETIMEDOUT}
# A pipe does not make its reader wait.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def create_driver(url: Url) -> "LocalDriver":
    root = Path(url.path)
    if url.host or url.port or url.username or not root.is_absolute() or ".." in root.parts or "\0" in url.path:
        raise UrlError("the URL of a folder has the form file:///var/lib/app/files")
    return LocalDriver(root)


class LocalDriver:
    """See ``StorageDriver``. A file is written beside the others and renamed when it is complete and on the disk."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def start(self) -> None:
        self._threads = Threads()

    async def close(self) -> None:
        self._threads.close()

    async def write(
        self, path: str, data: bytes | AsyncIterator[bytes], *, content_type: str, only_if_new: bool
    ) -> None:
        del content_type  # It is found again in the first bytes.
        draft = _Draft(self._root)
        try:
            if isinstance(data, bytes):
                await self._run(draft.fill, data)
            else:
                await self._run(draft.create)
                async for chunk in data:
                    await self._run(draft.write, chunk)
                await self._run(draft.flush)
            await self._run(draft.publish, path, only_if_new)
        except BaseException:
            await self._threads.finish(draft.discard)
            raise

    async def read_info(self, path: str) -> FileInfo:
        return await self._run(self._read_info, path)

    async def open(self, path: str) -> OpenFile:
        try:
            file, info, first = await self._threads.open(_close, self._open, path)
        except OSError as error:
            raise _translate(error) from None
        return OpenFile(info, self._read(file, info, first), file.close)

    def list(self, prefix: str, *, after: str) -> AsyncIterator[Sequence[FileInfo]]:
        return self._list(prefix, after)

    async def copy(self, source: str, target: str, *, only_if_new: bool, is_move: bool) -> None:
        if is_move:
            await self._run(self._move, source, target, only_if_new)
            return
        draft = _Draft(self._root)
        try:
            await self._run(self._fill_from, draft, source)
            await self._run(draft.publish, target, only_if_new)
        except BaseException:
            await self._threads.finish(draft.discard)
            raise

    async def delete(self, paths: Sequence[str]) -> dict[str, StorageError]:
        return await self._run(self._delete, paths)

    async def sign(self, path: str, signature: Signature) -> str:
        del path, signature
        raise CannotSignError("local")

    async def tidy(self, age: timedelta) -> int:
        return await self._run(self._tidy, time.time() - age.total_seconds())

    async def _run(self, function: Callable[P, Result], *arguments: P.args, **keywords: P.kwargs) -> Result:
        try:
            return await self._threads.run(function, *arguments, **keywords)
        except OSError as error:
            raise _translate(error) from None

    async def _read(self, file: FileIO, info: FileInfo, first: bytes) -> AsyncIterator[bytes]:
        chunk, left = first, info.size
        while chunk:
            yield chunk
            left -= len(chunk)
            chunk = await self._run(_read_chunk, file) if left > 0 else b""

    async def _list(self, prefix: str, after: str) -> AsyncIterator[Sequence[FileInfo]]:
        found = self._find(prefix, after)
        try:
            while page := await self._run(_take, found):
                yield page
        finally:
            found.close()

    def _find(self, prefix: str, after: str) -> Generator[FileInfo, None, None]:
        with suppress(FileNotFoundError, NotADirectoryError), open_folder(self._root, prefix) as folder:
            start = f"{prefix}/" if prefix else ""
            for path, status in walk(folder, start, after):
                if is_path(path):
                    yield _describe(path, status)

    @contextmanager
    def _open_parent(self, path: str) -> Iterator[tuple[int, str]]:
        """The folder of a file that is to be read, and its name there. A link is no folder and no file here."""
        parent, _, name = path.rpartition("/")
        try:
            with open_folder(self._root, parent) as folder:
                yield folder, name
        except (FileNotFoundError, NotADirectoryError):
            raise NotStoredError(path) from None
        except OSError as error:
            raise (NotStoredError(path) if error.errno == errno.ELOOP else error) from None

    def _read_info(self, path: str) -> FileInfo:
        file, info, _ = self._open(path, read=LOOKED_AT)
        file.close()
        return info

    def _open(self, path: str, *, read: int = CHUNK) -> tuple[FileIO, FileInfo, bytes]:
        """The file, and its first bytes: small files need no second visit of a thread."""
        with self._open_parent(path) as (folder, name):
            found = os.open(name, _READ, dir_fd=folder)
            try:
                status = _check_regular(path, os.fstat(found))
                first = os.read(found, read)
            except BaseException:
                os.close(found)
                raise
        file = FileIO(found, "rb")
        return file, _describe(path, status, sniff(first)), first

    def _fill_from(self, draft: "_Draft", source: str) -> None:
        file, _, first = self._open(source)
        with file:
            draft.create()
            while first:
                draft.write(first)
                first = file.read(1024 * 1024)
        draft.flush()

    def _move(self, source: str, target: str, only_if_new: bool) -> None:
        with self._open_parent(source) as (folder, name):
            _check_regular(source, os.stat(name, dir_fd=folder, follow_symlinks=False))
            _put_in_place(folder, name, self._root, target, only_if_new=only_if_new)

    def _delete(self, paths: Sequence[str]) -> dict[str, StorageError]:
        failed: dict[str, StorageError] = {}
        for path in paths:
            try:
                # A folder is not a file that is there.
                with suppress(NotStoredError, IsADirectoryError), self._open_parent(path) as (folder, name):
                    os.unlink(name, dir_fd=folder)
            except OSError as error:
                failed[path] = _translate(error)
        return failed

    def _tidy(self, before: float) -> int:
        removed = 0
        with suppress(FileNotFoundError), open_folder(self._root, INCOMING) as folder:
            for name, status in walk(folder, "", ""):
                # Another process may have removed it, and what cannot be removed now may be the next time.
                if "/" not in name and status.st_mtime < before:
                    with suppress(OSError):
                        os.unlink(name, dir_fd=folder)
                        removed += 1
        return removed


class _Draft:
    """A file that is not complete yet. Its methods are called one after the other."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._name = secrets.token_hex(16)
        self._file: FileIO | None = None

    def create(self) -> None:
        with make_folder(self._root, INCOMING) as folder:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._file = FileIO(os.open(self._name, flags, 0o600, dir_fd=folder), "wb")

    def write(self, chunk: bytes) -> None:
        left = memoryview(chunk)
        while left:
            left = left[self._opened.write(left) :]

    def flush(self) -> None:
        os.fsync(self._opened.fileno())
        self._opened.close()

    def fill(self, data: bytes) -> None:
        self.create()
        self.write(data)
        self.flush()

    def publish(self, path: str, only_if_new: bool) -> None:
        with open_folder(self._root, INCOMING) as folder:
            _put_in_place(folder, self._name, self._root, path, only_if_new=only_if_new)

    def discard(self) -> None:
        """Cannot fail: what is left, a later ``tidy`` removes."""
        with suppress(OSError, StorageError):
            if self._file is not None:
                self._file.close()
            with open_folder(self._root, INCOMING) as folder:
                os.unlink(self._name, dir_fd=folder)

    @property
    def _opened(self) -> FileIO:
        if self._file is None:
            raise RuntimeError("the draft is not open")
        return self._file


def _put_in_place(folder: int, name: str, root: Path, path: str, *, only_if_new: bool) -> None:
    """Give the file ``name`` in ``folder`` its path, for good: a power failure does not take it back."""
    parent, _, last = path.rpartition("/")
    try:
        with make_folder(root, parent) as target:
            # If it is no folder, or has a file, the next call says so.
            with suppress(OSError, RecursionError):
                remove_empty(last, target)
            if only_if_new:
                _link(name, folder, last, target)
            else:
                os.rename(name, last, src_dir_fd=folder, dst_dir_fd=target)
            os.fsync(target)
    except FileExistsError:
        raise AlreadyStoredError(path) from None
    except (IsADirectoryError, NotADirectoryError):
        raise PathConflictError(path) from None
    except OSError as error:
        # Linux says so where the folder has the file that is to be moved.
        raise (PathConflictError(path) if error.errno == errno.ENOTEMPTY else error) from None


def _link(name: str, folder: int, last: str, target: int) -> None:
    """Move a file to a place that is free; FileExistsError, or IsADirectoryError if a folder is there."""
    try:
        os.link(name, last, src_dir_fd=folder, dst_dir_fd=target, follow_symlinks=False)
    except FileExistsError:
        if S_ISDIR(os.stat(last, dir_fd=target, follow_symlinks=False).st_mode):
            raise IsADirectoryError from None
        raise
    os.unlink(name, dir_fd=folder)


def _close(opened: tuple[FileIO, FileInfo, bytes]) -> None:
    opened[0].close()


def _check_regular(path: str, status: os.stat_result) -> os.stat_result:
    """NotStoredError for a folder, a link or a pipe."""
    if not S_ISREG(status.st_mode):
        raise NotStoredError(path)
    return status


def _take(found: Iterator[FileInfo]) -> list[FileInfo]:
    return list(islice(found, _PAGE))


def _read_chunk(file: FileIO) -> bytes:
    return file.read(CHUNK)


def _describe(path: str, status: os.stat_result, content_type: str | None = None) -> FileInfo:
    etag = f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"
    return FileInfo(path, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC), etag, content_type)


def _translate(error: OSError) -> StorageError:
    reason = error.strerror or type(error).__name__
    # A folder may be there later: it is on a disk that is not mounted yet.
    if error.errno in _MAY_PASS or isinstance(error, FileNotFoundError):
        return StorageUnavailableError(reason)
    return StorageRefusedError(reason)
