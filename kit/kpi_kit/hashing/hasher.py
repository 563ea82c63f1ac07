"""Hash passwords without blocking the event loop."""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

from pydantic import SecretStr

from kpi_kit.drivers import choose_driver
from kpi_kit.errors import AlreadyOpenError, NotOpenError
from kpi_kit.hashing.ceilings import Ceilings
from kpi_kit.hashing.drivers import DRIVERS
from kpi_kit.hashing.errors import HasherBusyError
from kpi_kit.hashing.functions import HashFunctions
from kpi_kit.hashing.parameters import Parameters, read_numbers
from kpi_kit.observing import Observer, observe

_WAITING = 64
Result = TypeVar("Result")


class Hasher:
    """argon2id in a pool of ``workers`` threads, with at most ``waiting`` calls that wait for one of them.

    It is a context manager. The threads end with the block, after the hashes that have begun.
    """

    def __init__(
        self,
        functions: HashFunctions,
        *,
        workers: int | None = None,
        waiting: int = _WAITING,
        observer: Observer | None = None,
    ) -> None:
        self._functions = functions
        self._workers = workers or os.cpu_count() or 1
        self._room = self._workers + waiting
        self._observer = observer
        self._pool: ThreadPoolExecutor | None = None
        self._taken = 0

    @classmethod
    def from_url(
        cls, url: str | SecretStr = "argon2id://", *, ceilings: Ceilings | None = None, observer: Observer | None = None
    ) -> Self:
        """For example ``argon2id://?time_cost=3&memory_kib=65536&parallelism=1&workers=2&waiting=64``; UrlError else.

        ``workers`` is the number of cores unless it is given.
        """
        _, parts = choose_driver(url, DRIVERS)
        numbers = read_numbers(parts)
        pool = {name: numbers.pop(name) for name in ("workers", "waiting") if name in numbers}
        return cls(HashFunctions(Parameters(**numbers), ceilings=ceilings), **pool, observer=observer)

    async def make(self, password: str | SecretStr) -> str:
        """A new hash; RefusedPasswordError for what is no text or over 4,096 bytes, HasherBusyError if all is full."""
        return await self._run("make", "argon2id", lambda: self._functions.make(_reveal(password)))

    async def verify(self, password: str | SecretStr, stored: str) -> bool:
        """Does the password match a stored hash of any known form?

        RefusedHashError, at once, if the form is unknown or the hash is above a ceiling; HasherBusyError as above.
        """
        self.check(stored)
        family = self._functions.find_family(stored)
        return await self._run("verify", family, lambda: self._functions.verify(_reveal(password), stored))

    def check(self, stored: str) -> None:
        """RefusedHashError if ``verify`` would refuse this hash; for imports, and takes microseconds."""
        self._functions.check(stored)

    def needs_rehash(self, stored: str) -> bool:
        """Should it be made anew when its password is known next, that is after ``verify`` returned true?"""
        return self._functions.needs_rehash(stored)

    async def __aenter__(self) -> Self:
        if self._pool is not None:
            raise AlreadyOpenError("hasher")
        self._pool = ThreadPoolExecutor(self._workers, "kpi-hash")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            # Waiting for threads would block the loop.
            await asyncio.to_thread(pool.shutdown, cancel_futures=True)

    async def _run(self, operation: str, family: str, work: Callable[[], Result]) -> Result:
        with observe(self._observer, "hashing", operation, family):
            if self._pool is None:
                raise NotOpenError("hasher")
            if self._taken >= self._room:
                raise HasherBusyError("too many passwords are being hashed; the same call may succeed later")
            loop = asyncio.get_running_loop()
            self._taken += 1
            future = self._pool.submit(work)
            # Cancelling the caller stops a hash that has not begun. One that has begun keeps its place to its end.
            future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._give_back))
            return await asyncio.wrap_future(future)

    def _give_back(self) -> None:
        self._taken -= 1


def _reveal(password: str | SecretStr) -> str:
    return password.get_secret_value() if isinstance(password, SecretStr) else password
