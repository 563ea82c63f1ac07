"""A lock with a lease, which is released only by its holder."""

import asyncio
import logging
import random
import secrets
from contextlib import suppress
from time import monotonic

from kpi_kit.cache.contract import CacheDriver
from kpi_kit.cache.errors import CacheUnavailableError, LockLostError, LockTimeoutError

_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.1
_RELEASE_PAUSES = (0.0, 0.1, 0.5, 2.0, 4.0)
log = logging.getLogger(__name__)


class Lock:
    """``name`` has the prefix; ``lease`` is in seconds, after which others may take the lock."""

    def __init__(self, driver: CacheDriver, name: str, releases: "Releases", *, lease: float) -> None:
        self._driver = driver
        self._releases = releases
        self._name = name
        self._lease = lease
        self._token = secrets.token_hex(16).encode()
        self._until = 0.0

    @property
    def has_ended(self) -> bool:
        """Whether the lease may have ended since the lock was taken."""
        return monotonic() >= self._until

    async def try_take(self) -> bool:
        self._until = monotonic() + self._lease
        try:
            return await self._driver.add(self._name, self._token, self._lease)
        except (Exception, asyncio.CancelledError):
            # The server may carry it out all the same, and the lock would be held for the lease by no caller.
            self.release_later()
            raise

    async def take(self, *, wait: float) -> None:
        """LockTimeoutError if it is not free within ``wait`` seconds."""
        until = monotonic() + wait
        pause = _FIRST_PAUSE
        while not await self.try_take():
            left = until - monotonic()
            if left <= 0:
                raise LockTimeoutError(f"the lock was held by others for {wait:g} s")
            pause = await pause_before_retry(pause, left)

    async def release(self) -> bool:
        """Whether it was still held. One that cannot be released now is released later, or ends with its lease."""
        try:
            return await self.try_release()
        except CacheUnavailableError:
            self.release_later()
            return True

    async def try_release(self) -> bool:
        """Whether it was still held; CacheUnavailableError."""
        return await self._driver.delete(self._name, value=self._token)

    def release_later(self) -> None:
        self._releases.begin(self)

    async def release_or_raise(self) -> None:
        if not await self.release():
            raise LockLostError(f"the lease of {self._lease:g} s ended before the work under the lock")


class Releases:
    """Releases in the background what could not be released, or was perhaps taken by a call that failed."""

    def __init__(self) -> None:
        self._tasks: dict[Lock, asyncio.Task[None]] = {}

    def begin(self, lock: Lock) -> None:
        if lock not in self._tasks:
            self._tasks[lock] = task = asyncio.create_task(self._release(lock))
            task.add_done_callback(lambda _: self._tasks.pop(lock, None))

    async def _release(self, lock: Lock) -> None:
        has_answered = False
        for pause in _RELEASE_PAUSES:
            await asyncio.sleep(pause)
            with suppress(CacheUnavailableError):
                # If it is not held, the call that takes it may still be on its way.
                if await lock.try_release():
                    return
                has_answered = True
            if lock not in self._tasks:
                # Closed: a client that is cancelled in a call may report that as a fault of its connection.
                return
        if not has_answered:
            log.warning("A lock of the cache could not be released: it ends with its lease")

    async def close(self) -> None:
        """One last attempt for each, which ends in the time that the driver's calls have."""
        tasks, self._tasks = self._tasks, {}
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        await asyncio.gather(*(lock.try_release() for lock in tasks), return_exceptions=True)


async def pause_before_retry(pause: float, left: float) -> float:
    """Sleep about so long, at most ``left``; returns the next pause. Many who wait do not ask at the same times."""
    await asyncio.sleep(min(pause * random.uniform(0.5, 1.5), left))  # noqa: S311 no secret
    return min(2 * pause, _LONGEST_PAUSE)
