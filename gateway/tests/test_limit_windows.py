"""The arithmetic of sliding windows, held to the library's own, and what bounds the memory that they take."""

import random

import pytest
from kpi_gateway.clients import Clients
from kpi_gateway.policies import Policy, PolicySetting
from kpi_gateway.subjects import Subjects
from kpi_gateway.windows import Hit, MemoryWindows
from kpi_shared.tokens import InvalidTokenError
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


def policy(requests: int, window: int = 60, name: str = "address") -> Policy:
    return Policy(name, PolicySetting(requests=requests, window=window))


async def test_it_decides_as_the_library_does(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, chance, quota = Clock(), random.Random(4), policy(10)
    monkeypatch.setattr("limits.aio.storage.memory.time.time", clock)
    library = SlidingWindowCounterRateLimiter(MemoryStorage())
    ours = MemoryWindows(clock=clock)
    seen = set()
    for _ in range(3000):
        clock.now += chance.choice([0.0, 0.1, 1.0, 7.0, 31.0, 90.0])
        client = chance.choice(["a", "b"])
        outcome = ours.take([Hit(quota, client)])
        assert outcome.allowed == await library.hit(quota.item, quota.name, client)
        left = (await library.get_window_stats(quota.item, quota.name, client)).remaining
        assert quota.requests - outcome.usages[0].used(quota.window) == left
        seen.add((outcome.allowed, left))
    # It was full and empty, and refused.
    assert {(False, 0), (True, 0), (True, 9)} <= seen


async def test_the_librarys_strategy_works_on_our_storage() -> None:
    clock, quota = Clock(), policy(2)
    ours = MemoryWindows(clock=clock)
    library = SlidingWindowCounterRateLimiter(ours)
    ours.take([Hit(quota, "a")])
    assert [await library.hit(quota.item, quota.name, "a") for _ in range(2)] == [True, False]
    assert not ours.take([Hit(quota, "a")]).allowed
    await library.clear(quota.item, quota.name, "a")
    assert ours.take([Hit(quota, "a")]).allowed


def test_after_the_time_that_is_said_one_more_is_allowed_and_not_before() -> None:
    clock, chance, quota = Clock(), random.Random(5), policy(7)
    ours = MemoryWindows(clock=clock)
    waits = set()
    for _ in range(200):
        for _ in range(chance.randrange(9)):
            clock.now += chance.random() * 9
            ours.take([Hit(quota, "a")])
        outcome = ours.take([Hit(quota, "a")])
        if outcome.allowed:
            continue
        wait = outcome.usages[0].wait(quota)
        waits.add(round(wait))
        clock.now += wait - 0.001
        assert not ours.take([Hit(quota, "a")]).allowed
        clock.now += 0.002
        assert ours.take([Hit(quota, "a")]).allowed
    assert len(waits) > 10


def test_a_request_that_one_policy_refuses_counts_for_none() -> None:
    ours, wide, narrow = MemoryWindows(clock=Clock()), policy(9), policy(1, name="login")
    both = [Hit(wide, "a"), Hit(narrow, "a")]
    assert [ours.take(both).allowed for _ in range(3)] == [True, False, False]
    assert [usage.current for usage in ours.take(both).usages] == [1, 1]


def test_a_flood_of_addresses_stays_within_its_bound_and_forgets_the_oldest() -> None:
    clock, quota = Clock(), policy(1)
    ours = MemoryWindows(most_clients=100, clock=clock)
    for number in range(1000):
        assert ours.take([Hit(quota, f"2001:db8:0:{number:x}::/64")]).allowed
    assert ours.clients() == 100
    assert not ours.take([Hit(quota, "2001:db8:0:3e7::/64")]).allowed
    assert ours.take([Hit(quota, "2001:db8:0:0::/64")]).allowed
    # Whole windows are let go when they no longer count.
    clock.now += 120
    ours.take([Hit(quota, "a")])
    assert ours.clients() == 1


def test_clients_are_remembered_within_a_bound() -> None:
    clients = Clients()
    for number in range(10_000):
        clients.of({"client": (f"2001:db8:0:{number:x}::1", 1), "headers": []})
    assert clients._found.cache_info().currsize == 8192
    assert clients.of({"client": ("2001:db8:0:1::9", 1), "headers": []}).network == "2001:db8:0:1::/64"
    # A Unix socket has no address.
    assert clients.of({"client": None, "headers": []}) == ("unknown", "unknown")


class _CountingCodec:
    def __init__(self) -> None:
        self.opened = 0

    def verify(self, _token: str) -> None:
        self.opened += 1
        raise InvalidTokenError


def test_a_token_is_opened_once_a_bad_one_too() -> None:
    codec = _CountingCodec()
    subjects = Subjects(codec)  # type: ignore[arg-type]  # it has the one method
    headers = [(b"authorization", b"Bearer v4.local.some")]
    assert [subjects.of(headers) for _ in range(5)] == [None] * 5
    assert codec.opened == 1
    assert subjects.of([(b"authorization", b"Bearer " + b"v" * 5000)]) is None
    assert codec.opened == 1
    for number in range(20_000):
        subjects.of([(b"authorization", b"Bearer %d" % number)])
    assert len(subjects._refused._found) == 10_000
