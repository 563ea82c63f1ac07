"""A lock with a lease, which is released only by its holder."""

import asyncio
import logging
import random
import secrets
from time import monotonic

from kpi_kit.cache.contract import CacheDriver
from kpi_kit.cache.errors import CacheUnavailableError, LockLostError, LockTimeoutError

_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.1
log = logging.getLogger(__name__)


class Lock:
    """``name`` has the prefix; ``lease`` is in seconds, after which others may take the lock."""

    def __init__(self, driver: CacheDriver, name: str, *, lease: float) -> None:
        self._driver = driver
        self._name = name
        self._lease = lease
        self._token = secrets.token_hex(16).encode()

    async def try_take(self) -> bool:
        return await self._driver.add(self._name, self._token, self._lease)

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
        """Whether it was still held. One that cannot be released now ends with its lease."""
        try:
            return await self._driver.delete(self._name, value=self._token)
        except CacheUnavailableError:
            log.warning("A lock of the cache could not be released: it ends with its lease")
            return True

    async def release_or_raise(self) -> None:
        if not await self.release():
            raise LockLostError(f"the lease of {self._lease:g} s ended before the work under the lock")


async def pause_before_retry(pause: float, left: float) -> float:
    """Sleep about so long, at most ``left``; returns the next pause. Many who wait do not ask at the same times."""
    await asyncio.sleep(min(pause * random.uniform(0.5, 1.5), left))  # noqa: S311 no secret
    return min(2 * pause, _LONGEST_PAUSE)
