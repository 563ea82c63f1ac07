"""The server or the disk behind a cache fails: typed errors in a bounded time, and recovery without a restart."""

import asyncio
import logging
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import monotonic
from urllib.parse import quote

import pytest
from cache_support import PASSWORD, Maker, make_at_once, suspended
from kpi_kit.cache import Cache, CacheFake, CacheUnavailableError
from kpi_kit.errors import DriverUnavailableError
from redis_support import PROGRAM, RedisServer, redis_server

_TIMEOUT = 0.5
# A bound, not a measurement: many times what a call may wait.
_BOUND = 10.0

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no redis-server on this machine (Debian: redis-server)")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path, password=PASSWORD) as found:
        yield found


def url_of(server: RedisServer, *, password: str = PASSWORD, more: str = "") -> str:
    return f"redis://:{quote(password, safe='')}@127.0.0.1:{server.port}/0?timeout={_TIMEOUT}{more}"


@pytest.fixture
async def cache(server: RedisServer) -> AsyncIterator[Cache]:
    async with Cache.from_url(url_of(server)) as found:
        yield found


async def assert_unavailable(cache: Cache) -> None:
    """Every method raises the typed error, without the password, in a bounded time."""
    began = monotonic()
    calls = [
        cache.get("key"),
        cache.has("key"),
        cache.put("key", 1),
        cache.put("key", 1, tags=["tag"]),
        cache.forget("key"),
        cache.flush(),
        cache.increment("n"),
        cache.invalidate("tag"),
        cache.remember("key", make_at_once(1), ttl=60),
        cache.lock("work", wait=0).__aenter__(),
    ]
    for error in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(error, CacheUnavailableError)
        assert isinstance(error, DriverUnavailableError)
        assert PASSWORD not in str(error)
        assert "127.0.0.1" not in str(error)
    assert monotonic() - began < _BOUND


async def assert_works(cache: Cache) -> None:
    await cache.put("key", 1, tags=["tag"])
    assert await cache.get("key") == 1
    await cache.increment("n")
    async with cache.lock("work", wait=0):
        pass


async def test_redis_is_killed_and_comes_back(server: RedisServer, cache: Cache) -> None:
    # Many connections, each of which is broken afterwards.
    await asyncio.gather(*(cache.put(str(number), number) for number in range(15)))
    server.kill()
    await assert_unavailable(cache)
    server.start()
    await assert_works(cache)
    found = await asyncio.gather(*(cache.get(str(number)) for number in range(15)))
    assert found == [None] * 15


async def test_redis_restarts_between_two_calls(server: RedisServer, cache: Cache) -> None:
    await asyncio.gather(*(cache.increment("n") for _ in range(15)))
    server.kill()
    server.start()
    # The loop of a service runs meanwhile, and notices that the connections end.
    await asyncio.sleep(0)
    assert await asyncio.gather(*(cache.get("key") for _ in range(15))) == [None] * 15
    await assert_works(cache)


async def test_redis_stands_still_and_goes_on(server: RedisServer, cache: Cache) -> None:
    await assert_works(cache)
    with suspended(server):
        await assert_unavailable(cache)
    await assert_works(cache)
    assert await cache.get("key") == 1


async def test_late_responses_are_not_taken_for_those_of_other_calls(server: RedisServer, cache: Cache) -> None:
    await asyncio.gather(*(cache.put(str(number), number) for number in range(30)))
    with suspended(server):
        await asyncio.gather(*(cache.get(str(number)) for number in range(30)), return_exceptions=True)
    assert await asyncio.gather(*(cache.get(str(number)) for number in range(30))) == list(range(30))


async def test_a_cache_may_open_before_redis_and_close_after_it(server: RedisServer) -> None:
    server.kill()
    async with Cache.from_url(url_of(server)) as cache:
        await assert_unavailable(cache)
        server.start()
        await assert_works(cache)
        server.kill()


async def test_soft_reads_are_misses(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    async with Cache.from_url(url_of(server, more="&soft_reads=true")) as cache:
        await assert_works(cache)
        with suspended(server):
            began = monotonic()
            assert await asyncio.gather(*(cache.get("key") for _ in range(20))) == [None] * 20
            assert not await cache.has("key")
            assert await cache.remember("key", make_at_once("made"), ttl=60, tags=["tag"]) == "made"
            with pytest.raises(CacheUnavailableError):
                await cache.forget("key")
            with pytest.raises(CacheUnavailableError):
                await cache.increment("n")
            assert monotonic() - began < _BOUND
        async with asyncio.timeout(_BOUND):
            while await cache.get("key") != 1:  # noqa: ASYNC110 until the pause after the fault ends
                await asyncio.sleep(0.05)
    assert PASSWORD not in caplog.text


async def test_with_soft_reads_one_makes_it_for_all(server: RedisServer) -> None:
    server.kill()
    async with Cache.from_url(url_of(server, more="&soft_reads=true")) as cache:
        maker = Maker("made")
        asked = [asyncio.create_task(cache.remember("key", maker, ttl=60)) for _ in range(5)]
        await maker.has_begun.wait()
        maker.may_return.set()
        assert await asyncio.gather(*asked) == ["made"] * 5
        with pytest.raises(LookupError):
            await cache.remember("key", make_at_once(LookupError()), ttl=60)


async def test_a_wrong_password_is_no_secret_in_the_error(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = url_of(server, password="another-secret")
    async with Cache.from_url(url) as cache:
        with pytest.raises(CacheUnavailableError, match="Authentication") as caught:
            await cache.get("key")
        for text in (str(caught.value), repr(caught.value), repr(cache), caplog.text):
            assert "another-secret" not in text


async def test_an_error_that_quotes_the_value_is_not_passed_on(server: RedisServer, cache: Cache) -> None:
    await cache.put("key", "secret-value")
    with pytest.raises(ValueError, match="counter") as caught:
        await cache.increment("key")
    assert caught.value.__cause__ is None
    assert "secret-value" not in str(caught.value)


async def test_redis_without_memory_is_unavailable(server: RedisServer, cache: Cache) -> None:
    from redis.asyncio import Redis  # noqa: PLC0415

    await cache.put("key", 1)
    async with Redis(port=server.port, password=PASSWORD) as client:
        await client.config_set("maxmemory", 1)
    with pytest.raises(CacheUnavailableError):
        await cache.put("key", 2)
    assert await cache.get("key") == 1


async def test_redis_that_refuses_writes_is_unavailable(server: RedisServer, cache: Cache) -> None:
    from redis.asyncio import Redis  # noqa: PLC0415

    async with Redis(port=server.port, password=PASSWORD) as client:
        await client.config_set("min-replicas-to-write", 1)
    for call in (cache.put("key", 1), cache.increment("n"), cache.forget("key")):
        with pytest.raises(CacheUnavailableError):
            await call
    async with Cache.from_url(url_of(server, more="&soft_reads=true")) as soft:
        assert await soft.remember("key", make_at_once("made"), ttl=60) == "made"


async def test_a_lock_that_redis_takes_too_late_becomes_free(server: RedisServer, cache: Cache) -> None:
    await cache.get("key")
    with suspended(server), pytest.raises(CacheUnavailableError):
        await cache.lock("work", wait=0).__aenter__()
    async with asyncio.timeout(_BOUND), cache.lock("work", wait=_BOUND):
        pass


async def test_with_soft_reads_few_wait_for_redis_that_stands_still(server: RedisServer) -> None:
    async with Cache.from_url(url_of(server, more="&soft_reads=true").replace("0.5", "5")) as cache:
        await cache.put("key", 1)
        with suspended(server):
            # The pause after a fault begins anew with each call that waits, and none is due before its end.
            cache._entries._paused_until = monotonic() + 3600
            async with asyncio.timeout(4):
                for number in range(10):
                    assert await cache.remember(str(number), make_at_once(number), ttl=60) == number


async def test_a_locked_file_is_unavailable(tmp_path: Path) -> None:
    async with Cache.from_url(f"disk://{tmp_path}/cache?timeout=0.2") as cache:
        await cache.put("key", 1)
        other = sqlite3.connect(tmp_path / "cache" / "cache.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        began = monotonic()
        for call in (cache.put("key", 2), cache.increment("n"), cache.forget("key")):
            with pytest.raises(CacheUnavailableError):
                await call
        assert monotonic() - began < _BOUND
        other.execute("ROLLBACK")
        other.close()
        assert await cache.get("key") == 1
        await assert_works(cache)


async def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CacheUnavailableError):
        await Cache.from_url(f"disk://{tmp_path}/file/cache").__aenter__()


async def test_the_fake_is_down_when_the_test_says_so() -> None:
    async with CacheFake() as cache:
        await assert_works(cache)
        cache.is_down = True
        await assert_unavailable(cache)
        cache.is_down = False
        await assert_works(cache)
    async with CacheFake(soft_reads=True) as soft:
        soft.is_down = True
        assert await soft.get("key") is None


_PROCESS = """
import asyncio, sys
from kpi_kit.cache import Cache

async def make():
    return "made twice"

async def main():
    async with Cache.from_url(sys.argv[1]) as cache:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        print("asks", flush=True)
        print(await cache.remember("key", make, ttl=60))
        for _ in range(100):
            await cache.increment("n")

asyncio.run(main())
"""


@pytest.mark.parametrize("driver", ["disk", "redis"])
async def test_processes_share_counters_and_what_they_make(driver: str, server: RedisServer, tmp_path: Path) -> None:
    url = f"disk://{tmp_path}/cache?timeout=20" if driver == "disk" else url_of(server).replace("0.5", "20")
    program = subprocess.Popen(  # noqa: ASYNC220 it is short
        [sys.executable, "-W", "error", "-c", _PROCESS, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert program.stdin is not None
    assert program.stdout is not None
    async with Cache.from_url(url) as cache:
        assert program.stdout.readline() == "ready\n"
        maker = Maker("value")
        asked = asyncio.create_task(cache.remember("key", maker, ttl=60))
        await maker.has_begun.wait()
        program.stdin.write("go\n")
        program.stdin.flush()
        # The other process asks for the same value now, and counts when it has it.
        assert program.stdout.readline() == "asks\n"
        assert not await cache.has("n")
        maker.may_return.set()
        await asyncio.gather(asked, *(cache.increment("n") for _ in range(100)))
        output, _ = await asyncio.to_thread(program.communicate, timeout=60)
        assert (program.returncode, output) == (0, "value\n")
        assert await cache.get("n") == 200
