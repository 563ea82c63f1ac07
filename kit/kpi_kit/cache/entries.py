"""What is stored under a key, and whether it may still be used."""

import time
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from typing import TypeVar

from kpi_kit.cache.codec import Entry, Header, is_plain, join, split
from kpi_kit.cache.contract import CacheDriver
from kpi_kit.cache.errors import CacheKeyError, CacheUnavailableError
from kpi_kit.cache.tags import TAG_SECONDS, Tags

# For so long after a fault, soft reads are misses at once: with each waiting for its timeout, a cache that stands still
# would stop the service that it should make faster.
_PAUSE_SECONDS = 1.0

T = TypeVar("T")


class Entries:
    """``now`` is the system's clock in seconds, which the processes that share values have in common."""

    def __init__(
        self, driver: CacheDriver, tags: Tags, *, soft_reads: bool, now: Callable[[], float] = time.time
    ) -> None:
        self._driver = driver
        self._tags = tags
        self._soft_reads = soft_reads
        self._now = now
        self._paused_until = 0.0

    async def read_fresh(self, name: str) -> bytes | None:
        """The value as JSON; None too if the driver is unavailable and reads are soft."""
        if self._soft_reads:
            return await self.softly(lambda: self._read_fresh(name), None)
        return await self._read_fresh(name)

    async def _read_fresh(self, name: str) -> bytes | None:
        stored = await self._driver.get(name)
        if stored is None or is_plain(stored):
            return stored
        entry = await self._check(stored)
        return entry.body if entry is not None and self.is_fresh(entry) else None

    async def read(self, name: str) -> Entry | None:
        """Also one that is no longer fresh, but stored for until there is a new one."""
        stored = await self._driver.get(name)
        return None if stored is None else await self._check(stored)

    async def _check(self, stored: bytes) -> Entry | None:
        entry = split(stored)
        if entry is None or not entry.header.tags:
            return entry
        try:
            return entry if await self._tags.are_current(entry.header.tags) else None
        except CacheKeyError:
            # Not written by this library.
            return None

    def is_fresh(self, entry: Entry) -> bool:
        until = entry.header.fresh_until
        return until is None or self._now() < until

    async def put(
        self, name: str, body: bytes, ttl: float | None, *, stale: float = 0.0, versions: Mapping[str, str]
    ) -> bytes:
        """What was stored: the body, with a header if it needs one."""
        header = Header(tags=dict(versions))
        if stale and ttl is not None:
            header.fresh_until = self._now() + ttl
            ttl += stale
        if versions:
            ttl = TAG_SECONDS if ttl is None else min(ttl, TAG_SECONDS)
        stored = join(header, body) if stale or versions else body
        await self._driver.set(name, stored, ttl)
        return stored

    async def softly(self, call: Callable[[], Awaitable[T]], default: T) -> T:
        """The call's result; with soft reads, ``default`` if the driver is unavailable, or was a moment ago."""
        if self._soft_reads and monotonic() < self._paused_until:
            return default
        try:
            return await call()
        except CacheUnavailableError:
            if not self._soft_reads:
                raise
            self._paused_until = monotonic() + _PAUSE_SECONDS
            return default
