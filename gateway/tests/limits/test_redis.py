"""Limits that two gateways share through a real Redis, and what happens when it fails."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from gateway_support import Echo, gateway, serving
from kpi_gateway.limits.memory import Hit
from kpi_gateway.limits.policies import Policies, Policy, PolicySetting
from kpi_gateway.limits.redis import RedisWindows
from kpi_gateway.limits.service import Decision, RateLimits
from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis_support import RedisServer, needs_redis, redis_server

pytestmark = [pytest.mark.anyio, needs_redis]
DAY = 86_400
PASSWORD = "a long quiet street"


@pytest.fixture(scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
async def server(_server: RedisServer) -> RedisServer:
    """A Redis that holds nothing."""
    windows = RedisWindows(_server.url, timeout=5)
    await windows._client.flushall()
    await windows.close()
    return _server


@asynccontextmanager
async def replicas(url: str, requests: int, **settings: object) -> AsyncIterator[tuple[list[httpx.AsyncClient], Echo]]:
    """Clients of two gateways that share their limits, and the upstream behind both."""
    echo = Echo()
    shared = {"rate_limit_enabled": True, "rate_limit_requests": requests, "rate_limit_window": DAY}
    given = {**shared, "rate_limit_storage_url": url, **settings}
    async with (
        serving(echo) as upstream,
        gateway(auth_url=upstream, content_url=upstream, **given) as one,
        gateway(auth_url=upstream, content_url=upstream, **given) as other,
        httpx.AsyncClient(base_url=one, trust_env=False, timeout=30) as first,
        httpx.AsyncClient(base_url=other, trust_env=False, timeout=30) as second,
    ):
        yield [first, second], echo


async def test_exactly_the_quota_passes_of_200_at_once_through_two_gateways(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A busy machine may delay a call, and a call that timed out may have been counted.
    monkeypatch.setattr("kpi_gateway.limits.service.STORE_TIMEOUT_SECONDS", 20)
    async with replicas(server.url, 150) as (clients, echo):
        responses = await asyncio.gather(*(clients[number % 2].get("/posts") for number in range(200)))
    statuses = [response.status_code for response in responses]
    assert (statuses.count(200), statuses.count(429)) == (150, 50)
    assert len(echo.seen) == 150
    left = sorted(int(response.headers["x-ratelimit-remaining"]) for response in responses if response.is_success)
    assert left == list(range(150))


async def test_responses_are_the_same_as_with_memory(server: RedisServer) -> None:
    strict = {"login": {"requests": 1, "window": DAY}}
    async with replicas(server.url, 3, rate_limit_policies=strict) as ((one, other), _echo):
        passed, refused = await one.post("/auth/login"), await other.post("/auth/login")
    assert (passed.status_code, refused.status_code) == (200, 429)
    assert passed.headers["ratelimit-policy"] == f'"address";q=3;w={DAY}, "login";q=1;w={DAY}'
    assert passed.headers["ratelimit"] == f'"address";r=2;t={DAY}, "login";r=0;t={DAY}'
    assert 0 < int(refused.headers["retry-after"]) <= DAY + 1


async def test_the_strategy_of_the_library_reads_and_counts_the_same(server: RedisServer) -> None:
    quota = Policy("address", PolicySetting(requests=4, window=DAY))
    ours = RedisWindows(server.url, timeout=5)
    storage = RedisStorage(f"async+{server.url}", implementation="redispy", key_prefix="kpi")
    library = SlidingWindowCounterRateLimiter(storage)
    item = RateLimitItemPerSecond(quota.requests, quota.window, namespace="kpi")
    for remaining in (3, 1):
        usage = (await ours.take([Hit(quota, "192.0.2.1")])).usages[0]
        assert quota.requests - usage.used(DAY) == remaining
        assert (await library.get_window_stats(item, "address", "192.0.2.1")).remaining == remaining
        assert await library.hit(item, "address", "192.0.2.1")
    assert not (await ours.take([Hit(quota, "192.0.2.1")])).allowed
    assert not await library.hit(item, "address", "192.0.2.1")
    # All keys expire.
    lives = [await ours._client.pttl(key) for key in await ours._client.keys()]
    assert len(lives) == 1
    assert 0 < lives[0] <= 2 * DAY * 1000
    await ours.close()
    await storage.bridge.storage.aclose()  # type: ignore[attr-defined]  # the bridge in use has it


async def test_the_previous_window_counts_by_its_remaining_share(server: RedisServer) -> None:
    quota = Policy("address", PolicySetting(requests=10, window=100))
    ours = RedisWindows(server.url, timeout=5)
    current = f"kpi:{{{quota.key('a')}}}"
    # Full, and its window ended 25 seconds ago.
    await ours._client.set(current, 10, px=75_000)
    outcomes = [await ours.take([Hit(quota, "a")]) for _ in range(4)]
    assert [outcome.allowed for outcome in outcomes] == [True, True, True, False]
    last = outcomes[-1].usages[0]
    assert (last.previous, last.current) == (10, 3)
    assert 70 < last.left <= 75
    # Seven of the ten still apply, and fewer once 70 seconds are left.
    assert 0 < last.wait(quota) <= 5
    await ours.close()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path, password=PASSWORD) as server:
        yield server


def limits(url: str, requests: int) -> RateLimits:
    general = PolicySetting(requests=requests, window=DAY)
    strict = {"login": PolicySetting(requests=1, window=DAY)}
    return RateLimits(Policies(general, strict), shared=RedisWindows(url, timeout=0.25))


async def decide(limits: RateLimits, method: str, stricter: str | None = None) -> Decision:
    decision = limits.decide("192.0.2.1", stricter, method, [])
    return decision if isinstance(decision, Decision) else await decision


async def wait_until_back(limits: RateLimits) -> None:
    """Return once the store is available again."""
    assert limits._store_probe is not None
    async with asyncio.timeout(20):
        await limits._store_probe


async def test_while_the_store_is_down_reads_are_allowed_and_other_requests_are_counted_locally(
    own_server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    async with replicas(own_server.url, 1) as ((client, _), _echo):
        assert (await client.get("/posts")).headers["x-ratelimit-remaining"] == "0"
        assert (await client.get("/posts")).status_code == 429
        own_server.kill()
        reads = [await client.get("/posts") for _ in range(4)]
        heads = [await client.head("/posts") for _ in range(2)]
        writes = [await client.post("/auth/login") for _ in range(3)]
        own_server.start()
        async with asyncio.timeout(20):
            while "x-ratelimit-limit" not in (await client.get("/posts")).headers:
                pass
        assert (await client.get("/posts")).status_code == 429
    assert all(response.status_code == 200 and "ratelimit" not in response.headers for response in (*reads, *heads))
    assert [response.status_code for response in writes] == [200, 429, 429]
    output = capsys.readouterr().out
    assert output.count("rate limit store is down") == 1
    assert output.count("rate limit store is back") == 1
    assert PASSWORD not in output


async def test_a_store_that_hangs_delays_one_call_only(own_server: RedisServer) -> None:
    tested = limits(own_server.url, 100)
    await tested.start()
    assert tested._store_probe is None
    assert own_server.process is not None
    own_server.process.send_signal(signal.SIGSTOP)
    together = await asyncio.gather(*(decide(tested, "GET") for _ in range(50)))
    assert all(decision == Decision([]) for decision in together)
    # From then on no request waits: the decision is made at once.
    assert isinstance(tested.decide("192.0.2.1", None, "GET", []), Decision)
    assert [(await decide(tested, "POST", "login")).error is None for _ in range(2)] == [True, False]
    assert (tested.unlimited, tested.fallbacks) == (51, 2)
    assert tested.store_errors >= 50
    assert (tested.policies.by_name["login"].allowed, tested.policies.by_name["login"].limited) == (1, 1)
    own_server.process.send_signal(signal.SIGCONT)
    await wait_until_back(tested)
    assert (await decide(tested, "GET")).headers
    await tested.close()


async def test_the_gateway_starts_without_the_store(own_server: RedisServer) -> None:
    own_server.kill()
    tested = limits(own_server.url, 100)
    await tested.start()
    assert await decide(tested, "GET") == Decision([])
    own_server.start()
    await wait_until_back(tested)
    assert (await decide(tested, "GET")).headers[1] == (b"x-ratelimit-remaining", b"99")
    await tested.close()


async def test_with_a_wrong_password_the_store_is_down_and_the_password_is_not_logged(
    own_server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = own_server.url.replace(PASSWORD, "another quiet street")
    async with replicas(wrong, 1) as ((client, _), _echo):
        assert [(await client.get("/posts")).status_code for _ in range(3)] == [200] * 3
    output = capsys.readouterr()
    assert "rate limit store is down" in output.out
    assert "street" not in output.out + output.err


async def test_a_cancelled_call_does_not_affect_others(server: RedisServer) -> None:
    windows = RedisWindows(server.url, timeout=5)
    quota = Policy("address", PolicySetting(requests=9, window=DAY))
    gone, stays = windows.take([Hit(quota, "a")]), windows.take([Hit(quota, "a")])
    gone.cancel()
    assert (await stays).allowed
    await windows.close()
