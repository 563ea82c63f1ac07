"""What is being made while it is forgotten is of the past, and a lock that was perhaps taken becomes free again."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from cache_support import SHORT, Maker, make_at_once, pass_time, until, until_async
from kpi_kit.cache import Cache, CacheFake, CacheUnavailableError, CacheValueError
from kpi_kit.cache.fake import FakeDriver

END: dict[str, Callable[[Cache], Awaitable[object]]] = {
    "forget": lambda cache: cache.forget("key"),
    "flush": lambda cache: cache.flush(),
    "invalidate": lambda cache: cache.invalidate("other", "tag"),
}


@pytest.mark.parametrize("end", END)
async def test_who_asks_afterwards_does_not_get_what_was_being_made(cache: Cache, end: str) -> None:
    old = Maker("old")
    before = asyncio.create_task(cache.remember("key", old, ttl=60, tags=["tag"]))
    await old.has_begun.wait()
    await END[end](cache)
    after = asyncio.create_task(cache.remember("key", make_at_once("new"), ttl=60, tags=["tag"]))
    await asyncio.sleep(0)
    old.may_return.set()
    assert (await before, await after) == ("old", "new")
    assert await cache.get("key") == "new"


@pytest.mark.parametrize("end", ["forget", "flush"])
@pytest.mark.parametrize("who", ["this process", "another one"])
async def test_what_was_being_made_is_not_stored(cache: Cache, other: Cache, end: str, who: str) -> None:
    old, another = Maker("old"), Maker("another")
    asked = [asyncio.create_task(cache.remember("key", old, ttl=60))]
    asked.append(asyncio.create_task(cache.remember("another", another, ttl=60)))
    await asyncio.gather(old.has_begun.wait(), another.has_begun.wait())
    await END[end](cache if who == "this process" else other)
    old.may_return.set()
    another.may_return.set()
    assert await asyncio.gather(*asked) == ["old", "another"]
    assert not await cache.has("key")
    assert await cache.has("another") is (end == "forget")


@pytest.mark.parametrize("end", ["forget", "flush"])
async def test_what_was_made_anew_in_the_background_is_not_stored(cache: Cache, other: Cache, end: str) -> None:
    await cache.remember("key", make_at_once("first"), ttl=SHORT, stale=600)
    await pass_time(cache, SHORT)
    old = Maker("old")
    assert await cache.remember("key", old, ttl=60, stale=600) == "first"
    await old.has_begun.wait()
    await END[end](other)
    old.may_return.set()
    await until(lambda: not cache._rememberer._renewals)
    assert await cache.remember("key", make_at_once("new"), ttl=60) == "new"


async def test_what_takes_longer_than_its_lease_is_stored() -> None:
    driver = FakeDriver(is_shared=True)

    async def make() -> str:
        driver.now += 1
        await asyncio.sleep(0.02)
        return "made"

    async with Cache(driver, name="fake", now=lambda: driver.now) as cache:
        assert await cache.remember("key", make, ttl=60, lease=0.01) == "made"
        assert await cache.get("key") == "made"


async def test_a_hit_is_one_call_of_the_driver() -> None:
    driver = FakeDriver(is_shared=True)
    async with Cache(driver, name="fake") as cache:
        await cache.remember("key", make_at_once("made"), ttl=60)
        driver.calls.clear()
        await cache.remember("key", make_at_once("made"), ttl=60)
        assert driver.calls == [("get", "kpi:key:key")]


async def test_what_is_forgotten_while_it_is_stored_does_not_stay() -> None:
    driver = SlowDriver()
    async with Cache(driver, name="slow") as cache:
        asked = asyncio.create_task(cache.remember("key", make_at_once("old"), ttl=60))
        await driver.has_begun.wait()
        await cache.forget("key")
        driver.may_go_on.set()
        assert await asked == "old"
        assert not await cache.has("key")


class SlowDriver(FakeDriver):
    """Stores late, and takes locks though the call that takes them fails."""

    def __init__(self) -> None:
        super().__init__(is_shared=True)
        self.has_begun, self.may_go_on = asyncio.Event(), asyncio.Event()
        self.fails = False

    async def set(self, name: str, value: bytes, ttl: float | None) -> None:
        self.has_begun.set()
        await self.may_go_on.wait()
        await super().set(name, value, ttl)

    async def add(self, name: str, value: bytes, ttl: float | None) -> bool:
        is_added = await super().add(name, value, ttl)
        if self.fails:
            self.has_begun.set()
            await self.may_go_on.wait()
            raise CacheUnavailableError("the response came too late")
        return is_added


async def use_lock(cache: Cache) -> object:
    async with cache.lock("work"):
        return "made"


async def use_remember(cache: Cache) -> object:
    return await cache.remember("key", make_at_once("made"), ttl=60)


@pytest.mark.parametrize("is_cancelled", [True, False])
@pytest.mark.parametrize("use", [use_lock, use_remember])
async def test_a_lock_that_was_perhaps_taken_becomes_free(
    use: Callable[[Cache], Awaitable[object]], is_cancelled: bool
) -> None:
    driver = SlowDriver()
    async with Cache(driver, name="slow") as cache:
        driver.fails = True
        asked = asyncio.ensure_future(use(cache))
        await driver.has_begun.wait()
        driver.fails = False
        if is_cancelled:
            asked.cancel()
        driver.may_go_on.set()
        with pytest.raises(asyncio.CancelledError if is_cancelled else CacheUnavailableError):
            await asked
        async with asyncio.timeout(10):
            assert await use(cache) == "made"


async def test_a_lock_that_was_perhaps_taken_is_released_before_the_cache_closes() -> None:
    driver = SlowDriver()
    driver.fails = True
    driver.may_go_on.set()
    async with Cache(driver, name="slow") as cache:
        with pytest.raises(CacheUnavailableError):
            await use_lock(cache)
    assert [operation for operation, _ in driver.calls] == ["add", "delete"]


async def test_a_lock_that_cannot_be_released_is_released_later() -> None:
    driver = FakeDriver(is_shared=True)

    async def break_down() -> str:
        driver.is_down = True
        return "made"

    async with Cache(driver, name="fake", soft_reads=True) as cache:
        assert await cache.remember("key", break_down, ttl=60) == "made"
        driver.is_down = False
        await until_async(lambda: driver.get("kpi:lock::key"), None)


async def test_text_is_no_list_of_tags() -> None:
    async with CacheFake() as cache:
        with pytest.raises(CacheValueError, match="list"):
            await cache.put("key", 1, tags="users")
        with pytest.raises(CacheValueError, match="list"):
            await cache.remember("key", make_at_once(1), ttl=60, tags="users")
        cache.assert_nothing_put()


async def test_a_stored_value_with_too_many_tags_is_a_miss_without_a_look_at_them() -> None:
    driver = FakeDriver()
    async with Cache(driver, name="fake") as cache:
        tags = b", ".join(b'"%d": "a"' % number for number in range(17))
        await driver.set("kpi:key:key", b'\x01{"tags": {%b}}\n1' % tags, None)
        assert await cache.get("key") is None
        assert driver.calls[1:] == [("get", "kpi:key:key")]
