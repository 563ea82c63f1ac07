"""The arithmetic of sliding windows, compared with that of the library `limits`, and the limits of their memory."""

import random

import pytest
from kpi_gateway.client_addresses import ClientAddresses
from kpi_gateway.limits.memory import Hit, MemoryWindows
from kpi_gateway.limits.policies import Policy, PolicySetting
from kpi_gateway.limits.subjects import Subjects
from kpi_shared.tokens import InvalidTokenError
from limits import RateLimitItemPerSecond
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


async def test_decisions_are_those_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, chance, quota = Clock(), random.Random(4), policy(10)
    monkeypatch.setattr("limits.aio.storage.memory.time.time", clock)
    library = SlidingWindowCounterRateLimiter(MemoryStorage())
    item = RateLimitItemPerSecond(quota.requests, quota.window, namespace="kpi")
    ours = MemoryWindows(clock=clock)
    seen = set()
    for _ in range(3000):
        clock.now += chance.choice([0.0, 0.1, 1.0, 7.0, 31.0, 90.0])
        client = chance.choice(["a", "b"])
        outcome = ours.take([Hit(quota, client)])
        assert outcome.allowed == await library.hit(item, quota.name, client)
        left = (await library.get_window_stats(item, quota.name, client)).remaining
        assert quota.requests - outcome.usages[0].used(quota.window) == left
        seen.add((outcome.allowed, left))
    # The cases include full, empty and refused.
    assert {(False, 0), (True, 0), (True, 9)} <= seen


def test_one_more_request_is_allowed_after_the_reported_wait_and_not_before() -> None:
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


def test_a_request_that_one_policy_refuses_is_counted_by_none() -> None:
    ours, wide, narrow = MemoryWindows(clock=Clock()), policy(9), policy(1, name="login")
    both = [Hit(wide, "a"), Hit(narrow, "a")]
    assert [ours.take(both).allowed for _ in range(3)] == [True, False, False]
    assert [usage.current for usage in ours.take(both).usages] == [1, 1]


def test_a_flood_of_addresses_stays_within_the_limit_and_the_oldest_are_forgotten() -> None:
    clock, quota = Clock(), policy(1)
    ours = MemoryWindows(max_clients=100, clock=clock)
    for number in range(1000):
        assert ours.take([Hit(quota, f"2001:db8:0:{number:x}::/64")]).allowed
    assert ours.clients() == 100
    assert not ours.take([Hit(quota, "2001:db8:0:3e7::/64")]).allowed
    assert ours.take([Hit(quota, "2001:db8:0:0::/64")]).allowed
    # Whole windows are dropped when they no longer apply.
    clock.now += 120
    ours.take([Hit(quota, "a")])
    assert ours.clients() == 1


def test_the_number_of_remembered_clients_is_limited() -> None:
    addresses = ClientAddresses()
    for number in range(10_000):
        addresses.find({"client": (f"2001:db8:0:{number:x}::1", 1), "headers": []})
    assert addresses._remembered.cache_info().currsize == 8192
    assert addresses.find({"client": ("2001:db8:0:1::9", 1), "headers": []}).network == "2001:db8:0:1::/64"
    # A Unix socket has no address.
    assert addresses.find({"client": None, "headers": []}) == ("unknown", "unknown", None)


class _CountingCodec:
    def __init__(self) -> None:
        self.opened = 0
        self.on_change: list[object] = []

    def find_verified(self, _digest: bytes) -> None:
        return None

    def verify(self, _token: str) -> None:
        self.opened += 1
        raise InvalidTokenError


def test_each_invalid_token_is_opened_once() -> None:
    codec = _CountingCodec()
    subjects = Subjects(codec)  # type: ignore[arg-type]  # it has what is used
    headers = [(b"authorization", b"Bearer v4.local.some")]
    assert [subjects.find(headers) for _ in range(5)] == [None] * 5
    assert codec.opened == 1
    assert subjects.find([(b"authorization", b"Bearer " + b"v" * 5000)]) is None
    assert codec.opened == 1
    for number in range(20_000):
        subjects.find([(b"authorization", b"Bearer %d" % number)])
    assert len(subjects._refused._until) == 10_000
