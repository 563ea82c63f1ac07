"""Values in a folder by diskcache (5.6), which several processes may use at a time.

cashews' own driver over it is not used: it looks and then stores in two steps, so two processes can both hold a lock,
it finds no names in a folder with shards, and it runs in the thread pool that all of the process shares.
"""

import asyncio
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TypeVar

import diskcache

from kpi_kit.cache.codec import add_to_counter
from kpi_kit.cache.errors import CacheUnavailableError
from kpi_kit.cache.keys import is_of_lock
from kpi_kit.errors import NotOpenError, UrlError
from kpi_kit.urls import Url, read_number

_FILE = re.compile(r"[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{28}\.val")
_MIB = 1024 * 1024
_DEFAULT_TIMEOUT = 2.0
_BATCH = 1000

T = TypeVar("T")


class BytesDisk(diskcache.Disk):  # type: ignore[misc]
    """Reads and writes bytes under text alone, and files of its own alone.

    The library would run what is stored as pickle, and open or remove whatever file a row names. What it must not read
    is a file that is gone to it, which it takes for a value that another process has deleted.
    """

    def put(self, key: object) -> tuple[str, bool]:
        if not isinstance(key, str):
            raise TypeError("a name is text")
        return key, True

    def get(self, key: object, raw: bool) -> str:
        return key if raw and isinstance(key, str) else ""

    def store(self, value: object, read: bool, key: object = diskcache.UNKNOWN) -> object:
        if read or not isinstance(value, bytes):
            raise TypeError("a value is bytes")
        return super().store(value, read, key=key)

    def fetch(self, mode: int, filename: str | None, value: object, read: bool) -> bytes:
        if mode not in (diskcache.core.MODE_RAW, diskcache.core.MODE_BINARY) or not self._is_own(filename):
            raise FileNotFoundError
        found = super().fetch(mode, filename, value, read)
        if not isinstance(found, bytes):
            raise FileNotFoundError
        return found

    def remove(self, file_path: str) -> None:
        if self._is_own(file_path):
            super().remove(file_path)

    def _is_own(self, filename: str | None) -> bool:
        return filename is None or _FILE.fullmatch(filename) is not None


class DiskDriver:
    is_shared = True

    def __init__(self, url: Url) -> None:
        if url.host or not url.path.strip("/"):
            raise UrlError("a cache on disk needs the path of a folder: disk:///var/cache/kpi")
        self._folder = Path(url.path)
        self._size = int(read_number(url, "size_mib", default=1024, least=1, most=1024 * 1024)) * _MIB
        self._timeout = read_number(url, "timeout", default=_DEFAULT_TIMEOUT, least=0.05, most=60)
        self._thread: ThreadPoolExecutor | None = None
        self._values: diskcache.Cache | None = None
        self._locks: diskcache.Cache | None = None

    async def open(self) -> None:
        # One thread: SQLite has a connection for each, and each would have to be closed by its own.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cache")
        try:
            await self._run(self._open)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise

    def _open(self) -> None:
        # Values may be private. The library would leave the folder open to all.
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._values = self._open_store(self._folder, size_limit=self._size)
        self._locks = self._open_store(self._folder / "locks", eviction_policy="none")

    def _open_store(self, folder: Path, **options: object) -> diskcache.Cache:
        return diskcache.Cache(str(folder), timeout=self._timeout / 2, disk=BytesDisk, **options)

    async def close(self) -> None:
        if self._thread is None:
            return
        for store in (self._values, self._locks):
            if store is not None:
                with suppress(CacheUnavailableError):
                    await self._run(store.close)
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._thread = self._values = self._locks = None

    async def _run(self, call: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                return await loop.run_in_executor(self._thread, call)
        except (sqlite3.Error, diskcache.Timeout, OSError) as error:
            raise CacheUnavailableError(f"the cache on disk did not respond ({type(error).__name__})") from None

    async def get(self, name: str) -> bytes | None:
        found: bytes | None = await self._run(lambda: self._open_values.get(name))
        return found

    @property
    def _open_values(self) -> diskcache.Cache:
        if self._values is None:
            raise NotOpenError("cache")
        return self._values

    def _find_store(self, name: str) -> diskcache.Cache:
        if self._locks is None or not is_of_lock(name):
            return self._open_values
        return self._locks

    async def set(self, name: str, value: bytes, ttl: float | None) -> None:
        await self._run(lambda: self._open_values.set(name, value, ttl))

    async def add(self, name: str, value: bytes, ttl: float | None) -> bool:
        return bool(await self._run(lambda: self._find_store(name).add(name, value, ttl)))

    async def delete(self, name: str, *, value: bytes | None = None) -> bool:
        return await self._run(lambda: self._delete(name, value))

    def _delete(self, name: str, value: bytes | None) -> bool:
        values = self._find_store(name)
        if value is None:
            return bool(values.delete(name))
        with values.transact():
            return values.get(name) == value and bool(values.delete(name))

    async def increment(self, name: str, amount: int, ttl: float | None) -> int:
        return await self._run(lambda: self._increment(name, amount, ttl))

    def _increment(self, name: str, amount: int, ttl: float | None) -> int:
        values = self._open_values
        with values.transact():
            stored, ends = values.get(name, expire_time=True)
            number = add_to_counter(stored, amount)
            if stored is not None:
                ttl = None if ends is None else ends - time.time()
            values.set(name, b"%d" % number, ttl)
        return number

    async def clear(self, start: str) -> None:
        names = await self._run(lambda: iter(self._find_store(start)))
        while await self._run(lambda: self._clear_some(names, start)):
            pass

    def _clear_some(self, names: Iterator[str], start: str) -> bool:
        """One transaction for many: each of its own would be written to the disk. False if there are no more."""
        some, store = list(islice(names, _BATCH)), self._find_store(start)
        with store.transact():
            for name in some:
                if name.startswith(start):
                    store.delete(name)
        return bool(some)


create_driver = DiskDriver
