"""Values that are made when they are missing: once, for all who ask at the same time."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

from kpi_kit.cache.codec import MISS, encode
from kpi_kit.cache.contract import CacheDriver
from kpi_kit.cache.entries import Entries
from kpi_kit.cache.errors import CacheUnavailableError, CacheValueError
from kpi_kit.cache.flights import Flights
from kpi_kit.cache.locks import Lock, Releases, pause_before_retry
from kpi_kit.cache.tags import Tags

_FIRST_PAUSE = 0.02
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """All times are in seconds; ``decode`` returns MISS for what it cannot read."""

    name: str
    lock_name: str
    make: Callable[[], Awaitable[object]]
    decode: Callable[[bytes], Any]
    ttl: float
    stale: float
    tags: Collection[str]
    lease: float


@dataclass(eq=False)
class _Making:
    name: str
    tags: Collection[str]
    is_outdated: bool = False


class Rememberer:
    def __init__(self, driver: CacheDriver, entries: Entries, tags: Tags, releases: Releases) -> None:
        self._driver = driver
        self._entries = entries
        self._tags = tags
        self._releases = releases
        self._flights = Flights()
        self._makings: set[_Making] = set()
        self._renewals: dict[str, asyncio.Task[None]] = {}

    async def remember(self, plan: Plan) -> Any:  # noqa: ANN401 what plan.decode returns
        entry = await self._entries.softly(lambda: self._entries.read(plan.name), None)
        found = MISS if entry is None else plan.decode(entry.body)
        if entry is None or found is MISS:
            found = plan.decode(await self._flights.run(plan.name, lambda: self._fill(plan), tags=plan.tags))
            if found is MISS:
                raise CacheValueError("what was made is not of the type that was asked for")
        elif not self._entries.is_fresh(entry):
            self._begin_renewal(plan)
        return found

    async def _fill(self, plan: Plan) -> bytes:
        if not self._driver.is_shared:
            return await self._make(plan)
        lock = self._lock(plan)
        until = monotonic() + plan.lease
        pause = _FIRST_PAUSE
        while (is_taken := await self._entries.softly(lock.try_take, None)) is False:
            # The lease of another process ends. When a second one has failed, too, rather twice than never.
            if (left := until - monotonic()) <= 0:
                return await self._make(plan)
            pause = await pause_before_retry(pause, left)
            if (body := await self._find(plan)) is not None:
                return body
        try:
            # Another process may have stored it just before it released the lock.
            return await self._find(plan) or await self._make(plan)
        finally:
            if is_taken:
                await self._release(lock)

    def _lock(self, plan: Plan) -> Lock:
        return Lock(self._driver, plan.lock_name, self._releases, lease=plan.lease)

    async def _release(self, lock: Lock) -> None:
        try:
            is_answered = await self._entries.softly(lock.try_release, None) is not None
        except CacheUnavailableError:
            is_answered = False
        if not is_answered:
            lock.release_later()

    async def _find(self, plan: Plan) -> bytes | None:
        body = await self._entries.read_fresh(plan.name)
        return None if body is None or plan.decode(body) is MISS else body

    async def _make(self, plan: Plan) -> bytes:
        making = _Making(plan.name, plan.tags)
        self._makings.add(making)
        try:
            # Before the value is made: if a tag is invalidated meanwhile, the value is of the past already.
            versions = await self._entries.softly(lambda: self._tags.read(plan.tags), None)
            body = encode(await plan.make())
            if versions is not None and not making.is_outdated:
                await self._entries.softly(lambda: self._store(plan, body, versions, making), None)
            return body
        finally:
            self._makings.discard(making)

    async def _store(self, plan: Plan, body: bytes, versions: Mapping[str, str], making: _Making) -> None:
        stored = await self._entries.put(plan.name, body, plan.ttl, stale=plan.stale, versions=versions)
        if making.is_outdated:
            # Forgotten while it was on its way, so it may have come after that.
            await self._driver.delete(plan.name, value=stored)

    @contextmanager
    def outdating(self, matches: Callable[[str, Collection[str]], bool]) -> Iterator[None]:
        """What began before the end of the block is neither stored nor returned to those who ask after it.

        ``matches`` gets the name with the prefix, and the tags. It holds for what this process makes.
        """
        self._outdate(matches)
        try:
            yield
        finally:
            # Once more: what began meanwhile may have read what was there before.
            self._outdate(matches)

    def _outdate(self, matches: Callable[[str, Collection[str]], bool]) -> None:
        self._flights.close_to_others(matches)
        for making in self._makings:
            making.is_outdated = making.is_outdated or matches(making.name, making.tags)

    def _begin_renewal(self, plan: Plan) -> None:
        if plan.name in self._renewals:
            return
        self._renewals[plan.name] = task = asyncio.create_task(self._renew(plan))
        task.add_done_callback(lambda _: self._renewals.pop(plan.name, None))

    async def _renew(self, plan: Plan) -> None:
        """Does nothing while another process does it."""
        lock = self._lock(plan)
        try:
            if not await lock.try_take():
                return
            try:
                await self._find(plan) or await self._make(plan)
            finally:
                await self._release(lock)
        except Exception as error:  # noqa: BLE001 no caller waits for it
            # Without the text of the error, which may quote a value.
            log.warning("A remembered value could not be made anew (%s): the old one is used", type(error).__name__)

    async def close(self) -> None:
        tasks = list(self._renewals.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
