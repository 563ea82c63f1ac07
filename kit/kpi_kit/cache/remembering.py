"""Values that are made when they are missing: once, for all who ask at the same time."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

from kpi_kit.cache.codec import MISS, encode
from kpi_kit.cache.contract import CacheDriver
from kpi_kit.cache.entries import Entries
from kpi_kit.cache.errors import CacheUnavailableError, CacheValueError
from kpi_kit.cache.flights import Flights
from kpi_kit.cache.locks import Lock, Releases, pause_before_retry
from kpi_kit.cache.makings import Making, Makings, leave_making
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


class Rememberer:
    """``observe`` gets the name of an operation. It sees what the cache itself does, and not what ``make`` does."""

    def __init__(
        self,
        driver: CacheDriver,
        entries: Entries,
        tags: Tags,
        releases: Releases,
        observe: Callable[[str], AbstractContextManager[object]],
    ) -> None:
        self._driver = driver
        self._entries = entries
        self._tags = tags
        self._releases = releases
        self._observe = observe
        self._flights = Flights()
        self._makings = Makings()
        self._renewals: dict[str, asyncio.Task[None]] = {}

    async def remember(self, plan: Plan) -> Any:  # noqa: ANN401 what plan.decode returns
        with self._observe("remember"):
            self._makings.check_for_cycle(plan.name)
            entry = await self._entries.softly(lambda: self._entries.read(plan.name), None)
            found = MISS if entry is None else plan.decode(entry.body)
        if entry is None or found is MISS:
            return await self._wait_for(plan)
        if not self._entries.is_fresh(entry):
            self._begin_renewal(plan)
        return found

    async def _wait_for(self, plan: Plan) -> Any:  # noqa: ANN401 as above
        # Once more: another task may wait for this one since.
        self._makings.check_for_cycle(plan.name)
        with self._makings.note_wait(plan.name):
            body = await self._flights.run(plan.name, lambda: self._fill(plan), tags=plan.tags)
        found = plan.decode(body)
        if found is MISS:
            raise CacheValueError("what was made is not of the type that was asked for")
        return found

    async def _fill(self, plan: Plan) -> bytes:
        if not self._driver.is_shared:
            return (await self._make(plan))[0]
        lock = self._lock(plan)
        until = monotonic() + plan.lease
        pause = _FIRST_PAUSE
        while (is_taken := await self._entries.softly(lambda: self._try_take(lock), None)) is False:
            # The lease of another process ends. When a second one has failed, too, rather twice than never.
            if (left := until - monotonic()) <= 0:
                return (await self._make(plan))[0]
            pause = await pause_before_retry(pause, left)
            if (body := await self._find(plan)) is not None:
                return body
        return await self._make_under(lock if is_taken else None, plan)

    async def _make_under(self, lock: Lock | None, plan: Plan) -> bytes:
        """The value, which another process may have stored just before it released the lock."""
        stored = None
        try:
            if (body := await self._find(plan)) is None:
                body, stored = await self._make(plan)
            return body
        finally:
            # Another process that forgets the key takes the lock away: what was made is then of the past.
            if lock is not None and not await self._release(lock) and stored is not None:
                await self._delete(plan, stored)

    def _lock(self, plan: Plan) -> Lock:
        return Lock(self._driver, plan.lock_name, self._releases, lease=plan.lease)

    async def _try_take(self, lock: Lock) -> bool:
        with self._observe("lock"):
            return await lock.try_take()

    async def _release(self, lock: Lock) -> bool:
        """Whether it was held until now, or until its lease ended, as far as is known."""
        try:
            was_held = await self._entries.softly(lock.try_release, None)
        except CacheUnavailableError:
            was_held = None
        if was_held is None:
            lock.release_later()
        return was_held is not False or lock.has_ended

    async def _find(self, plan: Plan) -> bytes | None:
        with self._observe("get"):
            body = await self._entries.read_fresh(plan.name)
        return None if body is None or plan.decode(body) is MISS else body

    async def _make(self, plan: Plan) -> tuple[bytes, bytes | None]:
        """The value, and what was stored of it."""
        with self._makings.begin(plan.name, plan.tags) as making:
            # Before the value is made: if a tag is invalidated meanwhile, the value is of the past already.
            versions = await self._entries.softly(lambda: self._read_tags(plan), None)
            body = encode(await plan.make())
            if versions is None or making.is_outdated:
                return body, None
            return body, await self._entries.softly(lambda: self._store(plan, body, versions, making), None)

    async def _read_tags(self, plan: Plan) -> Mapping[str, str]:
        if not plan.tags:
            return {}
        with self._observe("get"):
            return await self._tags.read(plan.tags)

    async def _store(self, plan: Plan, body: bytes, versions: Mapping[str, str], making: Making) -> bytes:
        with self._observe("put"):
            stored = await self._entries.put(plan.name, body, plan.ttl, stale=plan.stale, versions=versions)
        if making.is_outdated:
            # Forgotten while it was on its way, so it may have come after that.
            await self._driver.delete(plan.name, value=stored)
        return stored

    async def _delete(self, plan: Plan, stored: bytes) -> None:
        with self._observe("forget"):
            await self._entries.softly(lambda: self._driver.delete(plan.name, value=stored), None)

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
        self._makings.outdate(matches)

    def _begin_renewal(self, plan: Plan) -> None:
        if plan.name in self._renewals:
            return
        self._renewals[plan.name] = task = asyncio.create_task(self._renew(plan))
        task.add_done_callback(lambda _: self._renewals.pop(plan.name, None))

    async def _renew(self, plan: Plan) -> None:
        """Does nothing while another process does it."""
        leave_making()
        lock = self._lock(plan)
        try:
            if await self._try_take(lock):
                await self._make_under(lock, plan)
        except Exception as error:  # noqa: BLE001 no caller waits for it
            # Without the text of the error, which may quote a value.
            log.warning("A remembered value could not be made anew (%s): the old one is used", type(error).__name__)

    async def close(self) -> None:
        tasks = list(self._renewals.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
