"""The cache that callers hold."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from pydantic import JsonValue, SecretStr

from kpi_kit.cache.codec import MISS, decode, encode
from kpi_kit.cache.contract import CacheDriver
from kpi_kit.cache.drivers import DRIVERS
from kpi_kit.cache.entries import Entries
from kpi_kit.cache.errors import CacheValueError, UnknownStoreError
from kpi_kit.cache.keys import DEFAULT_PREFIX, Names, to_seconds
from kpi_kit.cache.locks import Lock, Releases
from kpi_kit.cache.remembering import Plan, Rememberer
from kpi_kit.cache.tags import Tags
from kpi_kit.drivers import choose_driver
from kpi_kit.errors import AlreadyOpenError, NotOpenError
from kpi_kit.observing import Observer, observe
from kpi_kit.urls import read_flag

T = TypeVar("T")
D = TypeVar("D")
Seconds = float | timedelta


class Cache:
    """Values as JSON, by keys of 1 to 250 printable characters. An async context manager; open it once and share it.

    Times are seconds, or a ``timedelta``. All methods raise CacheUnavailableError, in a bounded time, if the driver
    does not respond; with ``soft_reads=true`` in the URL, ``get``, ``has`` and ``remember`` take that for a miss.
    CacheKeyError and CacheValueError are mistakes of the caller.
    """

    def __init__(  # noqa: PLR0913 each has a default but the first two
        self,
        driver: CacheDriver,
        *,
        name: str,
        prefix: str = DEFAULT_PREFIX,
        soft_reads: bool = False,
        stores: "Mapping[str, Cache] | None" = None,
        observer: Observer | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """``name`` is that of the driver, for metrics. Users call ``from_url``."""
        self._driver = driver
        self._name = name
        self._names = Names(prefix)
        self._tags = Tags(driver, self._names)
        self._entries = Entries(driver, self._tags, soft_reads=soft_reads, now=now)
        self._releases = Releases()
        self._stores = dict(stores or {})
        self._observer = observer
        observe_own = partial(observe, observer, "cache", driver=name)
        self._rememberer = Rememberer(driver, self._entries, self._tags, self._releases, observe_own)
        self._opened: AsyncExitStack | None = None

    @classmethod
    def from_url(
        cls,
        url: str | SecretStr,
        *,
        stores: Mapping[str, str | SecretStr] | None = None,
        observer: Observer | None = None,
    ) -> "Cache":
        """The cache behind the URL, and ``stores``: more caches by name, each with a URL; UrlError.

        ``memory://?size=10000``, ``disk:///var/cache/kpi?size_mib=1024`` or ``redis://cache:6379/0``; the last two may
        have ``prefix``, ``timeout`` and ``soft_reads`` (docs/kit/cache.md).
        """
        chosen, parts = choose_driver(url, DRIVERS)
        return Cache(
            chosen.load().create_driver(parts),
            name=chosen.name,
            prefix=parts.options.get("prefix", DEFAULT_PREFIX),
            soft_reads=read_flag(parts, "soft_reads"),
            stores={name: Cache.from_url(each, observer=observer) for name, each in (stores or {}).items()},
            observer=observer,
        )

    async def __aenter__(self) -> Self:
        if self._opened is not None:
            raise AlreadyOpenError("cache")
        async with AsyncExitStack() as stack:
            await self._driver.open()
            stack.push_async_callback(self._driver.close)
            stack.push_async_callback(self._releases.close)
            stack.push_async_callback(self._rememberer.close)
            for store in self._stores.values():
                await stack.enter_async_context(store)
            self._opened = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened is not None:
            stack, self._opened = self._opened, None
            await stack.aclose()

    def _observe(self, operation: str) -> AbstractContextManager[object]:
        self._check_open()
        return observe(self._observer, "cache", operation, self._name)

    def _check_open(self) -> None:
        if self._opened is None:
            raise NotOpenError("cache")

    def store(self, name: str) -> "Cache":
        """The cache that ``from_url`` got under this name; UnknownStoreError."""
        try:
            return self._stores[name]
        except KeyError:
            known = ", ".join(sorted(self._stores)) or "none"
            raise UnknownStoreError(f"no store has this name; there are: {known}") from None

    @overload
    async def get(self, key: str) -> JsonValue: ...

    @overload
    async def get(self, key: str, *, default: D) -> JsonValue | D: ...

    @overload
    async def get(self, key: str, as_type: type[T]) -> T | None: ...

    @overload
    async def get(self, key: str, as_type: type[T], *, default: D) -> T | D: ...

    async def get(self, key: str, as_type: type[Any] | None = None, *, default: Any = None) -> Any:
        """The value, or ``default``; a copy of its own.

        With ``as_type``, such as a pydantic model or ``list[User]``, the value as that type. One that is not of the
        type is a miss: after an update, it may have been stored by the version before.
        """
        with self._observe("get"):
            body = await self._entries.read_fresh(self._names.of_key(key))
            if body is None:
                return default
            found = decode(body, as_type)
            return default if found is MISS else found

    async def has(self, key: str) -> bool:
        """Whether ``get`` would find a value, which may be None."""
        with self._observe("has"):
            body = await self._entries.read_fresh(self._names.of_key(key))
            return body is not None and decode(body, None) is not MISS

    async def put(self, key: str, value: object, *, ttl: Seconds | None = None, tags: Collection[str] = ()) -> None:
        """Replace the value and its time to live; without ``ttl`` it has no end, with ``tags`` one in 30 days.

        CacheValueError if it has no form in JSON, or more than 1 MiB of it.
        """
        with self._observe("put"):
            name, body = self._names.of_key(key), encode(value)
            versions = await self._tags.read(tags) if tags else {}
            await self._entries.put(name, body, None if ttl is None else to_seconds(ttl), versions=versions)

    async def forget(self, key: str) -> bool:
        """Whether there was a value."""
        name, lock_name = self._names.of_key(key), self._names.of_making(key)
        with self._observe("forget"), self._rememberer.outdating(lambda made, _: made == name):
            if self._driver.is_shared:
                # Before the value: a process that stores one afterwards finds that it has lost the lock.
                await self._driver.delete(lock_name)
            return await self._driver.delete(name)

    async def flush(self) -> None:
        """Forget all values under the prefix of this cache, and nothing else. Locks stay."""
        with self._observe("flush"), self._rememberer.outdating(lambda _name, _tags: True):
            if self._driver.is_shared:
                # As in forget.
                await self._driver.clear(self._names.makings)
            await self._driver.clear(self._names.keys)

    @overload
    async def remember(
        self,
        key: str,
        make: Callable[[], Awaitable[object]],
        *,
        ttl: Seconds,
        stale: Seconds = ...,
        tags: Collection[str] = ...,
        lease: Seconds = ...,
    ) -> JsonValue: ...

    @overload
    async def remember(
        self,
        key: str,
        make: Callable[[], Awaitable[object]],
        *,
        as_type: type[T],
        ttl: Seconds,
        stale: Seconds = ...,
        tags: Collection[str] = ...,
        lease: Seconds = ...,
    ) -> T: ...

    async def remember(  # noqa: PLR0913 each has a default but the first three
        self,
        key: str,
        make: Callable[[], Awaitable[object]],
        *,
        ttl: Seconds,
        stale: Seconds = 0.0,
        tags: Collection[str] = (),
        as_type: type[Any] | None = None,
        lease: Seconds = 30.0,
    ) -> Any:
        """The value; if it is missing, what ``make`` returns, which is then stored for ``ttl`` seconds.

        Of all who ask at the same time, one makes it; the others get its result or its error. On disk and in Redis
        that holds for all processes, for ``lease`` seconds: if it takes longer, another one makes it, too. After
        ``ttl``, for ``stale`` more seconds the old value is returned at once, and made anew in the background. What is
        made while one of ``tags`` is invalidated is not used again.

        RememberCycleError if ``make`` asks for the key itself, at once or by way of others that are made here.
        """
        self._check_open()
        plan = Plan(
            name=self._names.of_key(key),
            lock_name=self._names.of_making(key),
            make=make,
            decode=partial(decode, as_type=as_type),
            ttl=to_seconds(ttl),
            stale=to_seconds(stale) if stale else 0.0,
            tags=tags,
            lease=to_seconds(lease),
        )
        return await self._rememberer.remember(plan)

    async def increment(self, key: str, amount: int = 1, *, ttl: Seconds | None = None) -> int:
        """The new number, atomically; a missing one is 0.

        ``ttl`` counts from the call that creates the counter, and later ones do not prolong it: the counter of a
        window of 60 s ends 60 s after its first event. CacheValueError if it is no integer, or leaves 64 bits.
        """
        with self._observe("increment"):
            if not -(2**63) <= amount < 2**63:
                raise CacheValueError("a counter has 64 bits")
            return await self._driver.increment(
                self._names.of_key(key), amount, None if ttl is None else to_seconds(ttl)
            )

    async def decrement(self, key: str, amount: int = 1, *, ttl: Seconds | None = None) -> int:
        """As ``increment``, downwards, also below 0."""
        return await self.increment(key, -amount, ttl=ttl)

    async def invalidate(self, *tags: str) -> None:
        """Forget all values with one of these tags, at once and for all processes."""
        ended = frozenset(tags)
        with self._observe("invalidate"), self._rememberer.outdating(lambda _, made: not ended.isdisjoint(made)):
            await self._tags.invalidate(tags)

    @asynccontextmanager
    async def lock(self, name: str, *, lease: Seconds = 30.0, wait: Seconds = 10.0) -> AsyncIterator[None]:
        """Hold the lock for the block, for at most ``lease`` seconds; ``wait=0`` makes one attempt.

        LockTimeoutError if others hold it for ``wait`` seconds. LockLostError after the block if the lease had ended
        before. The lock prevents double work; what must not happen twice needs a constraint where it is stored, since a
        process that stands still does not notice the end of its lease, and Redis forgets locks when it is restarted.
        """
        lock = Lock(self._driver, self._names.of_lock(name), self._releases, lease=to_seconds(lease))
        with self._observe("lock"):
            await lock.take(wait=to_seconds(wait) if wait else 0.0)
        try:
            yield
        except BaseException:
            await lock.release()
            raise
        await lock.release_or_raise()
