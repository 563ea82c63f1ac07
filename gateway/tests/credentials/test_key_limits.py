"""The limits and networks of API keys."""

from pathlib import Path

import pytest
from credential_support import header, keyed_gateway, make_key, problem
from redis_support import needs_redis, redis_server

pytestmark = pytest.mark.anyio


DAY = 86_400


async def test_wrong_keys_of_an_address_are_limited_without_auth() -> None:
    quota = {"credentials": {"requests": 2, "window": DAY}}
    async with keyed_gateway(rate_limit_enabled=True, rate_limit_policies=quota) as setup:
        setup.auth.response = problem(401, "invalid-api-key")
        statuses = [(await setup.client.get("/posts", headers=header(make_key()))).status_code for _ in range(4)]
        assert statuses == [401, 401, 429, 429]
        assert len(setup.auth.exchanged) == 2
        assert (await setup.client.get("/posts")).status_code == 200


async def test_the_limit_of_an_address_is_before_the_exchange() -> None:
    async with keyed_gateway(rate_limit_enabled=True, rate_limit_requests=3, rate_limit_window=DAY) as setup:
        found = [await setup.client.get("/posts", headers=header(make_key(number + 1))) for number in range(5)]
    assert [response.status_code for response in found] == [200, 200, 200, 429, 429]
    assert len(setup.auth.exchanged) == 3
    assert found[0].headers["ratelimit"].startswith('"address";r=2;')
    assert '"subject";r=2;' in found[0].headers["ratelimit"]


async def test_limits_count_each_key_on_its_own() -> None:
    networks = {"trusted_proxies": ("127.0.0.0/8",), "rate_limit_requests": 2, "rate_limit_window": DAY}
    async with keyed_gateway(rate_limit_enabled=True, **networks) as setup:
        first, second = make_key(1), make_key(2)
        statuses = []
        for number, key in enumerate((first, first, first, second)):
            sent = header(key) | {"X-Forwarded-For": f"198.51.100.{number}"}
            statuses.append((await setup.client.get("/posts", headers=sent)).status_code)
    # Both keys are of one account.
    assert statuses == [200, 200, 429, 200]


@needs_redis
async def test_the_limit_of_a_key_is_shared_by_gateways(tmp_path: Path) -> None:
    with redis_server(tmp_path) as store:
        shared = {"rate_limit_enabled": True, "rate_limit_storage_url": store.url}
        async with keyed_gateway(**shared) as one, keyed_gateway(**shared) as two:
            key = make_key()
            for setup in (one, two):
                setup.auth.grant = {"rate_limit": {"requests": 3, "window": DAY}}
            found = [await setup.client.get("/posts", headers=header(key)) for setup in (one, two, one, two)]
    assert [response.status_code for response in found] == [200, 200, 200, 429]
    assert '"key";r=0;' in found[2].headers["ratelimit"]


async def test_networks_are_judged_for_each_request() -> None:
    async with keyed_gateway(trusted_proxies=("127.0.0.0/8",)) as setup:
        setup.auth.grant = {"allowed_networks": ["192.0.2.0/24", "2001:db8::/32"]}
        key = make_key()
        for address, status in (
            ("192.0.2.1", 200),
            ("::ffff:192.0.2.1", 200),
            ("2001:db8:1::1", 200),
            ("198.51.100.1", 403),
            ("2001:db9::1", 403),
        ):
            response = await setup.client.get("/posts", headers=header(key) | {"X-Forwarded-For": address})
            assert response.status_code == status, address
            assert status == 200 or response.json()["type"] == "network-not-allowed"
        assert len(setup.auth.exchanged) == 1
