"""Where files are kept: the seam between what endpoints do and a folder or a bucket."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Protocol, TypeVar

Result = TypeVar("Result")

CHUNK = 64 * 1024
# Part, table, field, and a random name. Nothing that a client sends is in it.
_KEY = re.compile(r"[a-z][a-z0-9_-]*/[a-z][a-z0-9_]*/[a-z][a-z0-9_]*/[A-Za-z0-9_-]{22}")
_THREADS = 4


class OpenFile(Protocol):
    """The chunks of a file that is open, so that they come even if it is removed meanwhile."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def close(self) -> None: ...


class FileStore(Protocol):
    """The drivers. A key is one of ``check_key``. OSError for a store that does not work."""

    async def save(self, key: str, chunks: AsyncIterator[bytes], *, media_type: str) -> None:
        """Store a file. It is there as a whole, or not at all: an exception of ``chunks`` leaves nothing."""

    async def open(self, key: str) -> OpenFile | None:
        """A file to read and to close, or None if there is none."""

    async def sign(self, key: str, *, media_type: str, disposition: str) -> str | None:
        """An address where the client itself may read the file for a minute; None: read it here."""

    async def remove(self, *keys: str) -> dict[str, str]:
        """The keys of the files that could not be removed, with the reasons. One that is not there is no failure."""

    def list_old(self, prefix: str, *, age: timedelta) -> AsyncIterator[list[str]]:
        """The keys under ``prefix`` of files that are older, at most a thousand at a time.

        What has no key's name, because something else put it there, is left out.
        """

    async def close(self) -> None: ...


def is_key(text: str) -> bool:
    """Whether it is a path of four plain names."""
    return _KEY.fullmatch(text) is not None


def check_key(key: str) -> str:
    """ValueError unless it is a key."""
    if not is_key(key):
        raise ValueError("not a key of a file")
    return key


class Threads:
    """Blocking calls, in few threads of their own: slow storage takes none from what else needs some."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="files")

    async def run(self, function: Callable[..., Result], *arguments: object, **keywords: object) -> Result:
        call = partial(function, *arguments, **keywords)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
