"""What a cache promises, whatever its driver: the same tests for the fake, memory, disk and Redis."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cache_support import SHORT, Case, Maker, make_at_once, pass_time, until, until_async, until_waiting
from kpi_kit.cache import (
    Cache,
    CacheFake,
    CacheKeyError,
    CacheValueError,
    LockLostError,
    LockTimeoutError,
    UnknownStoreError,
)
from kpi_kit.errors import NotOpenError, UrlError
from opening_support import open_anew
from pydantic import BaseModel


class User(BaseModel):
    id: int
    name: str
    since: datetime


ANNA = User(id=7, name="Änna", since=datetime(2026, 11, 28, tzinfo=UTC))


async def test_a_value_comes_back_as_it_was(cache: Cache) -> None:
    for value in (None, True, 0, -5, 1.5, "", "text\n", [], {}, {"a": [1, {"b": None}]}, 2**70):
        assert not await cache.has("key")
        await cache.put("key", value)
        assert await cache.get("key", default="missing") == value
        assert await cache.has("key")
        assert await cache.forget("key")
        assert await cache.get("key", default="missing") == "missing"
        assert not await cache.forget("key")


async def test_a_model_comes_back_by_its_type(cache: Cache) -> None:
    await cache.put("anna", ANNA)
    await cache.put("all", [ANNA])
    assert await cache.get("anna", User) == ANNA
    assert await cache.get("all", list[User]) == [ANNA]
    assert await cache.get("anna") == json.loads(ANNA.model_dump_json())


async def test_a_value_of_another_type_is_a_miss(cache: Cache) -> None:
    await cache.put("anna", {"id": 7})
    assert await cache.get("anna", User, default="missing") == "missing"
    assert await cache.remember("anna", make_at_once(ANNA), as_type=User, ttl=60) == ANNA
    assert await cache.get("anna", User) == ANNA


async def test_what_a_caller_changes_is_its_own(cache: Cache) -> None:
    value = {"list": [1]}
    await cache.put("key", value)
    value["list"].append(2)
    first = await cache.get("key", dict[str, list[int]])
    assert first is not None
    first["list"].append(3)
    assert await cache.get("key") == {"list": [1]}


async def test_a_value_ends_with_its_time(cache: Cache) -> None:
    await cache.put("short", 1, ttl=timedelta(seconds=SHORT))
    await cache.put("long", 1, ttl=600)
    await cache.put("replaced", 1, ttl=SHORT)
    await cache.put("replaced", 2)
    await pass_time(cache, 2 * SHORT)
    assert not await cache.has("short")
    assert await cache.has("long")
    assert await cache.get("replaced") == 2, "without a time to live, it has no end"


@pytest.mark.parametrize("ttl", [0, -1, float("nan"), float("inf"), 1e10])
async def test_a_time_has_bounds(ttl: float) -> None:
    async with CacheFake() as cache:
        with pytest.raises(CacheValueError, match="ten years"):
            await cache.put("key", 1, ttl=ttl)
        cache.assert_nothing_put()


@pytest.mark.parametrize("key", ["", "a" * 251, "a\nb", "a\r\nSET x 1", "\x00", "\ud800", "tab\t", "\x7f"])
async def test_a_key_is_bounded_and_prints(key: str) -> None:
    async with CacheFake() as cache:
        for call in (cache.get, cache.has, cache.forget, cache.increment, cache.invalidate):
            with pytest.raises(CacheKeyError) as caught:
                await call(key)
            assert not key or key not in str(caught.value)
        with pytest.raises(CacheKeyError):
            await cache.put("key", 1, tags=[key])
        with pytest.raises(CacheKeyError):
            await cache.lock(key).__aenter__()
        cache.assert_nothing_put()


async def test_any_other_key_is_just_a_key(cache: Cache) -> None:
    await cache.put("x", "other")
    for key in ("ä" * 250, "*", "a[b]?", "../../etc/passwd", "ä: ü", "%s{0}", "kpi:key:x", "'; --"):
        await cache.put(key, "this")
        assert (await cache.get(key), await cache.get("x")) == ("this", "other")
        await cache.forget(key)
        assert (await cache.get(key), await cache.get("x")) == (None, "other")


async def test_what_has_no_form_in_json_is_refused(cache: Cache) -> None:
    for value in (object(), b"\xff", "\ud800", "a" * 1024 * 1024):
        with pytest.raises(CacheValueError):
            await cache.put("key", value)
        assert not await cache.has("key")


async def test_a_large_value(cache: Cache) -> None:
    await cache.put("key", "a" * 1024 * 1000)
    assert await cache.get("key") == "a" * 1024 * 1000
    await cache.flush()
    assert not await cache.has("key")


async def test_counting_is_atomic(cache: Cache, other: Cache) -> None:
    results = await asyncio.gather(
        *(each.increment("n", amount) for amount in (1, 3) for each in (cache, other) for _ in range(25)),
        *(each.decrement("n", 2) for each in (cache, other) for _ in range(25)),
    )
    assert await cache.get("n") == 2 * 25 * (1 + 3 - 2)
    assert len(results) == 150
    assert await cache.decrement("below", 5) == -5
    assert await cache.get("below") == -5


async def test_a_counter_ends_with_the_time_of_its_first_call(cache: Cache) -> None:
    assert await cache.increment("window", 5, ttl=10 * SHORT) == 5
    assert await cache.increment("window", ttl=600) == 6
    assert await cache.decrement("window") == 5
    assert await cache.increment("endless") == 1
    assert await cache.increment("endless", ttl=SHORT) == 2
    await pass_time(cache, 11 * SHORT)
    assert not await cache.has("window")
    assert await cache.increment("endless") == 3
    assert await cache.decrement("down", ttl=SHORT) == -1
    await pass_time(cache, 2 * SHORT)
    assert not await cache.has("down"), "not only a counter that begins with 1 has its time"


async def test_a_counter_is_an_integer_of_64_bits(cache: Cache) -> None:
    await cache.put("number", 41)
    assert await cache.increment("number") == 42
    await cache.put("text", "a")
    await cache.put("tagged", 1, tags=["tag"])
    await cache.put("most", 2**63 - 1)
    for key in ("text", "tagged", "most"):
        with pytest.raises(CacheValueError):
            await cache.increment(key)
    assert await cache.get("most") == 2**63 - 1
    with pytest.raises(CacheValueError):
        await cache.increment("number", 2**63)


async def test_flush_ends_what_is_ours_and_leaves_locks(case: Case, cache: Cache) -> None:
    async with case.build(**({"prefix": "other"} if case.is_shared else {})) as neighbour:
        await neighbour.put("key", "neighbour")
        for number in range(1200 if case.name == "redis" else 20):
            await cache.put(f"key-{number}", number)
        async with cache.lock("held"):
            await cache.flush()
            assert not await cache.has("key-0")
            assert not await cache.has("key-19")
            with pytest.raises(LockTimeoutError):
                async with cache.lock("held", wait=0):
                    pass
        assert await neighbour.get("key") == "neighbour"
        await neighbour.flush()


async def test_a_tag_ends_all_values_that_have_it(cache: Cache, other: Cache) -> None:
    await cache.put("long", 1, tags=["users", "anna"])
    await cache.put("short", 2, ttl=SHORT, tags=["users"])
    await cache.put("posts", 3, tags=["posts"])
    await cache.put("plain", 4)
    await pass_time(cache, 2 * SHORT)
    assert await other.get("long") == 1
    await other.invalidate("users")
    assert not await cache.has("long"), "a tag outlives the value that it was last given to"
    assert [await cache.get(key) for key in ("posts", "plain")] == [3, 4]
    await cache.put("long", 5, tags=["anna"])
    await cache.invalidate("users")
    assert await cache.get("long") == 5, "it no longer has that tag"
    with pytest.raises(CacheValueError, match="16 tags"):
        await cache.put("key", 1, tags=[str(number) for number in range(17)])


async def test_what_was_made_during_an_invalidation_is_of_the_past(cache: Cache, other: Cache) -> None:
    maker = Maker("old", "new")
    asked = asyncio.create_task(cache.remember("key", maker, ttl=60, tags=["tag"]))
    await maker.has_begun.wait()
    await other.invalidate("tag")
    maker.may_return.set()
    assert await asked == "old"
    assert not await cache.has("key")
    assert await cache.remember("key", maker, ttl=60, tags=["tag"]) == "new"
    assert await other.remember("key", maker, ttl=60, tags=["tag"]) == "new"


async def test_one_makes_it_for_all_who_ask_at_the_same_time(cache: Cache, other: Cache) -> None:
    maker = Maker({"made": 1})
    asked = [asyncio.create_task(each.remember("key", maker, ttl=60)) for each in (cache, other) for _ in range(20)]
    await maker.has_begun.wait()
    maker.may_return.set()
    assert await asyncio.gather(*asked) == [{"made": 1}] * 40
    assert maker.calls == 1
    assert await cache.get("key") == {"made": 1}


async def test_an_error_is_for_all_who_wait_and_not_stored(cache: Cache) -> None:
    maker = Maker(LookupError("none"), "found")
    asked = [asyncio.create_task(cache.remember("key", maker, ttl=60)) for _ in range(3)]
    await until_waiting(cache, 3)
    maker.may_return.set()
    assert {type(error) for error in await asyncio.gather(*asked, return_exceptions=True)} == {LookupError}
    assert maker.calls == 1
    assert await cache.remember("key", maker, ttl=60) == "found"


async def test_who_is_cancelled_does_not_take_the_others_along(cache: Cache) -> None:
    maker = Maker("made")
    first, second = (asyncio.create_task(cache.remember("key", maker, ttl=60)) for _ in range(2))
    await until_waiting(cache, 2)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    maker.may_return.set()
    assert (await second, maker.calls) == ("made", 1)


async def test_when_all_are_cancelled_the_next_one_makes_it(cache: Cache) -> None:
    maker = Maker("never", "made")
    asked = asyncio.create_task(cache.remember("key", maker, ttl=60))
    await maker.has_begun.wait()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    maker.may_return.set()
    assert await cache.remember("key", maker, ttl=60) == "made"


async def test_an_old_value_is_returned_while_a_new_one_is_made(cache: Cache, other: Cache) -> None:
    maker = Maker("old", "new")
    maker.may_return.set()
    assert await cache.remember("key", maker, ttl=SHORT, stale=600) == "old"
    await pass_time(cache, 2 * SHORT)
    assert not await cache.has("key"), "for get and has, the time to live is what it says"
    maker.may_return.clear()
    assert [await each.remember("key", maker, ttl=600, stale=600) for each in (cache, other, cache)] == ["old"] * 3
    await until(lambda: maker.calls == 2)
    maker.may_return.set()
    await until_async(lambda: cache.get("key"), "new")
    assert await other.remember("key", maker, ttl=600, stale=600) == "new"
    assert maker.calls == 2


async def test_an_old_value_stays_when_no_new_one_can_be_made(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    maker = make_at_once("old", LookupError("secret"), "new")
    assert await cache.remember("key", maker, ttl=SHORT, stale=600) == "old"
    await pass_time(cache, 2 * SHORT)
    assert await cache.remember("key", maker, ttl=600, stale=600) == "old"
    await until(lambda: "LookupError" in caplog.text)
    assert "secret" not in caplog.text


async def test_what_was_made_has_the_type_that_was_asked_for(cache: Cache) -> None:
    assert await cache.remember("anna", make_at_once(ANNA), as_type=User, ttl=60) == ANNA
    with pytest.raises(CacheValueError, match="type"):
        await cache.remember("number", make_at_once("text"), as_type=User, ttl=60)


async def test_a_lock_has_one_holder(cache: Cache, other: Cache) -> None:
    held: list[int] = []
    most = 0

    async def work(each: Cache) -> None:
        nonlocal most
        async with each.lock("work", wait=20):
            held.append(1)
            most = max(most, len(held))
            await asyncio.sleep(0)
            held.pop()

    await asyncio.gather(*(work(each) for each in (cache, other) for _ in range(5)))
    assert most == 1


async def test_a_lock_is_not_waited_for_without_end(cache: Cache, other: Cache) -> None:
    async with cache.lock("work"):
        for wait in (0, SHORT):
            with pytest.raises(LockTimeoutError):
                async with other.lock("work", wait=wait):
                    pass
        async with other.lock("other work", wait=0):
            pass
    async with other.lock("work", wait=0):
        pass


async def test_a_lease_ends_and_the_next_holder_keeps_its_lock(cache: Cache, other: Cache) -> None:
    first, second = cache.lock("work", lease=SHORT), other.lock("work", wait=0)
    await first.__aenter__()
    await pass_time(cache, 2 * SHORT)
    await second.__aenter__()
    with pytest.raises(LockLostError):
        await first.__aexit__(None, None, None)
    with pytest.raises(LockTimeoutError):
        async with cache.lock("work", wait=0):
            pass
    await second.__aexit__(None, None, None)


async def test_an_error_in_the_block_releases_the_lock(cache: Cache) -> None:
    with pytest.raises(LookupError):
        async with cache.lock("work"):
            raise LookupError
    async with cache.lock("work", wait=0):
        pass


async def test_a_cache_is_used_open_only(case: Case) -> None:
    cache = case.build()
    for _ in range(2):
        with pytest.raises(NotOpenError):
            await cache.get("key")
        async with cache:
            await cache.get("key")


async def test_stores_have_names() -> None:
    async with Cache.from_url("memory://", stores={"sessions": "memory://?size=5"}) as cache:
        await cache.store("sessions").put("key", 1)
        assert not await cache.has("key")
        with pytest.raises(UnknownStoreError, match="sessions"):
            cache.store("missing")


async def test_memory_is_bounded() -> None:
    async with Cache.from_url("memory://?size=3") as cache:
        for number in range(3):
            await cache.put(str(number), number)
        await cache.get("0")
        await cache.put("3", 3)
        assert [await cache.has(str(number)) for number in range(4)] == [True, False, True, True]


@pytest.mark.parametrize(
    "url",
    [
        *("memory://?size=0", "memory://?size=x", "memory://?prefix=a", "disk://", "disk://host/folder", "redis://"),
        *("redis://host/name", "redis://h/0?timeout=0", "redis://h/0?soft_reads=yes", "redis://h?prefix=a*", "mem://"),
        *("redis://h?ca_file=/x", "http://h", "redis://user:secret@h:port/0"),
    ],
)
def test_a_url_that_is_wrong_is_refused_unquoted(url: str) -> None:
    with pytest.raises(UrlError) as caught:
        Cache.from_url(url)
    assert "secret" not in str(caught.value)


async def test_a_full_cache_keeps_its_locks(tmp_path: Path) -> None:
    for url in ("memory://?size=100", f"disk://{tmp_path}/cache?size_mib=1&timeout=20"):
        async with Cache.from_url(url) as cache, cache.lock("a", lease=600):
            for number in range(150):
                await cache.put(f"key{number}", "x" * 20_000)
            assert await cache.get("key0") is None
            with pytest.raises(LockTimeoutError):
                async with cache.lock("a", wait=0):
                    pass


async def test_no_lock_is_that_of_a_value_that_is_made(cache: Cache) -> None:
    async with cache.lock(":key"), cache.lock("key"):
        assert await asyncio.wait_for(cache.remember("key", make_at_once(1), ttl=60), 10) == 1


async def test_a_flush_takes_more_than_one_batch(tmp_path: Path) -> None:
    async with Cache.from_url(f"disk://{tmp_path}/cache?timeout=20") as cache:
        for number in range(1100):
            await cache.put(f"key{number}", 1)
        await cache.flush()
        assert [await cache.has(f"key{number}") for number in (0, 500, 1099)] == [False] * 3


async def test_it_is_opened_again_after_it_is_closed(cache: Cache) -> None:
    await open_anew(cache, lambda: cache.put("a", 1))
    assert await cache.remember("b", make_at_once(2), ttl=60) == 2
    assert await cache.get("a") == 1
