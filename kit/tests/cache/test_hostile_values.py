"""What others have written into the store is never run, and at most a miss."""

import pickle
import sqlite3
from pathlib import Path

import diskcache
import pytest
from cache_support import Case, make_at_once
from kpi_kit.cache import Cache, CacheFake
from kpi_kit.cache.keys import Names
from pydantic import BaseModel
from redis.asyncio import Redis


class Model(BaseModel):
    id: int


class Payload:
    """Unpickled, it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    return tmp_path / "unpickled"


def assert_not_run(trap: Path) -> None:
    assert not trap.exists()


def assert_kept(file: Path) -> None:
    assert file.exists(), "the library would remove the file that a row names"


def build_hostile_values(trap: Path) -> list[bytes]:
    pickles = [pickle.dumps(Payload(trap), protocol=protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    versions = b'{"tags": {%b}}' % b", ".join(b'"%d": "a"' % number for number in range(100))
    return [
        *pickles,
        # As cashews and diskcache would write it: with a type, a signature, a header of ours.
        *(b"bytes:" + each for each in pickles),
        *(b"md5:abc_" + each for each in pickles),
        *(b"\x01{}\n" + each for each in pickles),
        *(b"", b"\x01", b"\x01{}", b"\x01{}\n", b"\x01\n1", b"\x01[]\n1", b'\x01{"tags": {"": "a"}}\n1', b"\x80"),
        *(b'\x01{"fresh_until": 1}\n1', b'\x01{"tags": {"a": "b"}}\n1', b"\x01" + versions + b"\n1", b"[" * 100_000),
        *(b"1" * 5_000_000, b"{", b'"\\ud800"', b"\xff\xfe", b"nan", b'{"id": "a"}', b"-"),
    ]


def test_the_trap_works(trap: Path) -> None:
    pickle.loads(pickle.dumps(Payload(trap)))  # noqa: S301 it is what this file protects from
    assert trap.exists()


async def test_a_hostile_value_is_a_miss(case: Case, cache: Cache, trap: Path) -> None:
    name = Names().of_key("key")
    for number, stored in enumerate(build_hostile_values(trap)):
        await cache._driver.set(name, stored, None)
        # A digit is JSON; no value here has the form of the model.
        assert await cache.get("key", Model, default="miss") == "miss", number
        await cache.has("key")
        assert await cache.remember("key", make_at_once(Model(id=7)), as_type=Model, ttl=60) == Model(id=7), number
        assert await cache.get("key", Model) == Model(id=7), number
        await cache._driver.set(name, stored, None)
        await cache.put("key", 1)
        assert await cache.get("key") == 1
    assert_not_run(trap)


async def test_a_hostile_version_of_a_tag_is_another_version(cache: Cache, trap: Path) -> None:
    for stored in build_hostile_values(trap):
        await cache.put("key", 1, tags=["tag"])
        await cache._driver.set(Names().of_tag("tag"), stored, None)
        assert not await cache.has("key")
    assert_not_run(trap)


async def test_other_types_of_redis_are_misses(case: Case, cache: Cache) -> None:
    if case.name != "redis":
        pytest.skip("Redis alone has types")
    async with Redis.from_url(case.url) as client:
        await client.rpush("kpi:key:list", "a")
        await client.set(b"kpi:key:\xff\xfe", "a")
    assert await cache.get("list") is None
    assert not await cache.has("list")
    with pytest.raises(ValueError, match="type"):
        await cache.increment("list")
    assert await cache.remember("list", make_at_once(1), ttl=60) == 1
    assert await cache.get("list") == 1
    await cache.flush()
    async with Redis.from_url(case.url) as client:
        assert not [name async for name in client.scan_iter("kpi:key:*")]


async def test_rows_of_diskcache_that_hold_pickles_are_not_read(tmp_path: Path, trap: Path) -> None:
    folder = tmp_path / "cache"
    with diskcache.Cache(str(folder)) as other:
        other.set(Names().of_key("key"), Payload(trap))
        other.set(Payload(trap), b"1")
        other.set(Names().of_key("text"), "1")
        other.set(Names().of_key("number"), 1)
    async with Cache.from_url(f"disk://{folder}") as cache:
        for key in ("key", "text", "number"):
            assert not await cache.has(key)
        await cache.put("key", 2)
        assert await cache.get("key") == 2
        await cache.flush()
        assert not await cache.has("key")
    assert_not_run(trap)


@pytest.mark.parametrize("mode", [1, 2, 3, 4, 99])
async def test_a_row_cannot_name_a_file_outside_the_folder(tmp_path: Path, trap: Path, mode: int) -> None:
    folder = tmp_path / "cache"
    secret = tmp_path / "secret"
    secret.write_bytes(pickle.dumps(Payload(trap)) if mode == 4 else b'"secret"')
    url = f"disk://{folder}"
    async with Cache.from_url(url) as cache:
        await cache.put("key", "a" * 100_000)
    with sqlite3.connect(folder / "cache.db") as database:
        database.execute("UPDATE Cache SET filename = ?, mode = ?, value = NULL", ["../secret", mode])
    database.close()
    async with Cache.from_url(url) as cache:
        assert await cache.get("key") is None
        await cache.forget("key")
        await cache.flush()
    assert_not_run(trap)
    assert_kept(secret)


async def test_values_on_disk_are_for_their_owner(tmp_path: Path) -> None:
    async with Cache.from_url(f"disk://{tmp_path}/a/cache") as cache:
        await cache.put("key", 1)
    assert (tmp_path / "a" / "cache").stat().st_mode & 0o077 == 0


async def test_the_fake_records_what_was_called() -> None:
    async with CacheFake(stores={"more": CacheFake()}) as cache:
        cache.assert_nothing_put()
        await cache.put("key", 1, tags=["tag"])
        await cache.forget("key")
        await cache.invalidate("tag")
        await cache.flush()
        cache.assert_put("key")
        cache.assert_forgotten("key")
        cache.assert_invalidated("tag")
        cache.assert_flushed()
        cache.store("more").assert_nothing_put()
        for claim in (cache.assert_put, cache.assert_forgotten, cache.assert_invalidated):
            with pytest.raises(AssertionError, match="other"):
                claim("other")
        with pytest.raises(AssertionError):
            cache.assert_nothing_put()
