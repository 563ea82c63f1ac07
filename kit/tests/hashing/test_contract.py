"""What a hasher and its fake have in common, and what their pool does."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import pytest
from kpi_kit.errors import DriverUnavailableError, NotOpenError, UrlError
from kpi_kit.hashing import (
    CostlyHashError,
    Hasher,
    HasherBusyError,
    HashFake,
    RefusedPasswordError,
    UnknownHashError,
)
from opening_support import open_anew
from pydantic import SecretStr

OLD = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
URL = "argon2id://?time_cost=1&memory_kib=64&parallelism=1&workers=1&waiting=1"
MAKERS: dict[str, Callable[[], Hasher]] = {"argon2id": lambda: Hasher.from_url(URL), "fake": HashFake}


@pytest.fixture(params=MAKERS)
def hasher(request: pytest.FixtureRequest) -> Hasher:
    return MAKERS[request.param]()


async def test_a_new_hash_matches_its_password_alone(hasher: Hasher) -> None:
    async with hasher:
        stored = await hasher.make("a password")
        assert stored.startswith("$argon2id$")
        assert "a password" not in stored
        assert await hasher.verify("a password", stored)
        assert await hasher.verify(SecretStr("a password"), await hasher.make(SecretStr("a password")))
        assert not await hasher.verify("a passwore", stored)
        assert not hasher.needs_rehash(stored)


async def test_an_older_hash_is_verified_and_due_to_be_replaced(hasher: Hasher) -> None:
    async with hasher:
        hasher.check(OLD)
        assert await hasher.verify("U*U", OLD)
        assert not await hasher.verify("U*V", OLD)
        assert hasher.needs_rehash(OLD)


async def test_a_refused_hash_takes_no_thread(hasher: Hasher) -> None:
    async with hasher:
        for stored, error in (("nonsense", UnknownHashError), (OLD.replace("$05$", "$31$"), CostlyHashError)):
            with pytest.raises(error):
                await hasher.verify("U*U", stored)
            with pytest.raises(error):
                hasher.check(stored)
        assert hasher._taken == 0


async def test_a_refused_password(hasher: Hasher) -> None:
    async with hasher:
        with pytest.raises(RefusedPasswordError):
            await hasher.make("\ud800")
        assert not await hasher.verify("\ud800", OLD)


async def test_it_works_within_its_block_only(hasher: Hasher) -> None:
    with pytest.raises(NotOpenError, match="async with"):
        await hasher.make("a password")
    async with hasher:
        assert await hasher.make("a password")
    with pytest.raises(NotOpenError, match="async with"):
        await hasher.make("a password")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("kpi-hash")]


async def test_each_call_is_observed_with_what_verifies_it() -> None:
    seen: list[tuple[str, str, str]] = []

    class Recorder:
        def observe(self, library: str, operation: str, driver: str) -> AbstractContextManager[object]:
            seen.append((library, operation, driver))
            return nullcontext()

    async with Hasher.from_url(URL, observer=Recorder()) as hasher:
        await hasher.verify("U*U", OLD)
        await hasher.make("a password")
    assert seen == [("hashing", "verify", "bcrypt"), ("hashing", "make", "argon2id")]


async def test_a_full_pool_refuses_and_recovers() -> None:
    async with Hasher.from_url(URL) as hasher:
        assert hasher._pool is not None
        release = threading.Event()
        hasher._pool.submit(release.wait)
        try:
            waiting = [asyncio.create_task(hasher.make("a password")) for _ in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(HasherBusyError) as raised:
                await hasher.make("a password")
            assert isinstance(raised.value, DriverUnavailableError)
        finally:
            release.set()
        assert all(await asyncio.gather(*waiting))
        assert await hasher.make("a password")


async def test_a_cancelled_call_gives_its_place_back() -> None:
    async with Hasher.from_url(URL) as hasher:
        assert hasher._pool is not None
        release = threading.Event()
        hasher._pool.submit(release.wait)
        try:
            waiting = [asyncio.create_task(hasher.make("a password")) for _ in range(2)]
            await asyncio.sleep(0)
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)
        finally:
            release.set()
        # Both places are free again.
        assert all(await asyncio.gather(hasher.make("a password"), hasher.make("a password")))


async def test_the_event_loop_runs_while_a_password_is_hashed() -> None:
    async with Hasher.from_url("argon2id://?time_cost=1&memory_kib=8192") as hasher:
        hashing = asyncio.create_task(hasher.make("a password"))
        turns = 0
        while not hashing.done():
            await asyncio.sleep(0)
            turns += 1
    assert turns > 2


@pytest.mark.parametrize(
    "url",
    [
        "bcrypt://",
        "argon2id://?cost=12",
        "argon2id://?memory_kib=many",
        "argon2id://?memory_kib=-1",
        "argon2id://?time_cost=0",
        "argon2id://?workers=9999999999999999999999",
        "argon2id://?time_cost=1&time_cost=2",
        "argon2id://?parallelism=64&memory_kib=8",
    ],
)
def test_a_url_with_a_mistake_is_refused(url: str) -> None:
    with pytest.raises(UrlError):
        Hasher.from_url(url)


async def test_the_fake_counts_its_calls() -> None:
    async with HashFake() as hasher:
        stored = await hasher.make("a password")
        await hasher.verify("a password", stored)
        await hasher.verify("another", stored)
        assert hasher.calls == {"make": 1, "verify": 2}
        hasher.assert_made()
        hasher.assert_verified(2)
        with pytest.raises(AssertionError, match="1 hashes were made, not 2"):
            hasher.assert_made(2)
    assert "a password" not in repr(vars(hasher))


async def test_it_is_opened_again_after_it_is_closed(hasher: Hasher) -> None:
    async with hasher:
        await open_anew(hasher, lambda: hasher.make("a password"))
