"""What makes a value is the caller's: its time is not the cache's, and it cannot wait for itself."""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from cache_support import SHORT, Case, Maker, make_at_once, pass_time, until
from kpi_kit.cache import Cache, CacheUnavailableError, RememberCycleError
from kpi_kit.cache.fake import FakeDriver


class Recorder:
    """Keeps the operations that are under way, and those that have ended, with the type of their error."""

    def __init__(self) -> None:
        self.running: list[str] = []
        self.ended: list[tuple[str, type[BaseException] | None]] = []

    def observe(self, library: str, operation: str, driver: str) -> AbstractContextManager[object]:
        assert (library, driver) == ("cache", "fake")
        return self._measure(operation)

    @contextmanager
    def _measure(self, operation: str) -> Iterator[None]:
        self.running.append(operation)
        error: type[BaseException] | None = None
        try:
            yield
        except BaseException as raised:
            error = type(raised)
            raise
        finally:
            self.running.remove(operation)
            self.ended.append((operation, error))


@pytest.mark.parametrize("is_shared", [False, True])
async def test_what_make_does_is_not_observed(is_shared: bool) -> None:
    recorder, driver = Recorder(), FakeDriver(is_shared=is_shared)

    async def fail() -> object:
        assert recorder.running == []
        raise LookupError

    async def make() -> object:
        assert recorder.running == []
        return "made"

    async with Cache(driver, name="fake", observer=recorder) as cache:
        with pytest.raises(LookupError):
            await cache.remember("key", fail, ttl=60)
        assert {error for _, error in recorder.ended} == {None}
        recorder.ended.clear()
        await cache.remember("key", make, ttl=60, tags=["tag"])
        own = ["lock", "get"] if is_shared else []
        assert [operation for operation, _ in recorder.ended] == ["remember", *own, "get", "put"]
        driver.is_down = True
        recorder.ended.clear()
        with pytest.raises(CacheUnavailableError):
            await cache.remember("key", make, ttl=60)
        assert recorder.ended == [("remember", CacheUnavailableError)]


@pytest.mark.parametrize("is_stale", [False, True])
async def test_what_makes_a_value_does_not_wait_for_itself(cache: Cache, is_stale: bool) -> None:
    if is_stale:
        await cache.remember("key", make_at_once("old"), ttl=SHORT, stale=600)
        await pass_time(cache, SHORT)
    found: list[BaseException] = []

    async def make() -> object:
        try:
            # In a task of its own, too.
            await asyncio.create_task(cache.remember("key", make, ttl=60))
        except RememberCycleError as error:
            found.append(error)
            raise
        return "never"

    async with asyncio.timeout(20):
        if is_stale:
            # The new value is made in the background.
            assert await cache.remember("key", make, ttl=60, stale=600) == "old"
            await until(lambda: not cache._rememberer._renewals)
        else:
            with pytest.raises(RememberCycleError, match="itself"):
                await cache.remember("key", make, ttl=60)
        assert len(found) == 1
        assert await cache.remember("another", make_at_once("made"), ttl=60) == "made"


async def test_values_that_need_each_other_are_an_error(case: Case, cache: Cache) -> None:
    """Also where each was asked for by a task of its own, and they are in two caches."""
    has_begun = {name: asyncio.Event() for name in "ab"}

    async with case.build(prefix="second") if case.is_shared else case.build() as second:
        await second.flush()

        async def make_a() -> object:
            has_begun["a"].set()
            await has_begun["b"].wait()
            return await second.remember("b", make_b, ttl=60)

        async def make_b() -> object:
            has_begun["b"].set()
            await has_begun["a"].wait()
            return await cache.remember("a", make_a, ttl=60)

        async with asyncio.timeout(20):
            both = (cache.remember("a", make_a, ttl=60), second.remember("b", make_b, ttl=60))
            results = await asyncio.gather(*both, return_exceptions=True)
        assert [type(result) for result in results] == [RememberCycleError, RememberCycleError]


async def test_what_a_value_needs_may_be_needed_by_others_too(cache: Cache) -> None:
    needed = Maker("needed")

    async def make() -> object:
        return await cache.remember("needed", needed, ttl=60)

    asked = [asyncio.create_task(cache.remember(key, make, ttl=60)) for key in ("a", "b")]
    asked.append(asyncio.create_task(cache.remember("needed", needed, ttl=60)))
    await needed.has_begun.wait()
    needed.may_return.set()
    assert await asyncio.gather(*asked) == ["needed"] * 3
    assert needed.calls == 1


async def test_a_task_that_outlives_what_has_started_it_may_ask(cache: Cache) -> None:
    tasks: list[asyncio.Task[object]] = []
    has_ended = asyncio.Event()

    async def ask_later() -> object:
        await has_ended.wait()
        await cache.forget("key")
        return await cache.remember("key", make_at_once("new"), ttl=60)

    async def make() -> object:
        tasks.append(asyncio.create_task(ask_later()))
        return "old"

    assert await cache.remember("key", make, ttl=60) == "old"
    has_ended.set()
    assert await tasks[0] == "new"
