"""Rate limits through the three real processes, and two gateways that share a Redis."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from kpi_shared.testing.process import start_part
from redis_support import needs_redis, redis_server
from stack import Stack, join

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif("KPI_GATEWAY_URL" in os.environ, reason="these tests start gateways with limits of their own"),
]
DAY = 86_400


@contextmanager
def gateway(stack: Stack, folder: Path, name: str = "one", **settings: str) -> Iterator[httpx.Client]:
    """A client of another gateway for the stack's services, with limits."""
    assert stack.auth is not None
    assert stack.content is not None
    given = {"AUTH_URL": stack.auth, "CONTENT_URL": stack.content, "RATE_LIMIT_WINDOW": str(DAY), **settings}
    with (
        start_part("kpi_gateway", given, log=folder / f"gateway_{name}.log") as address,
        httpx.Client(base_url=address, timeout=30) as client,
    ):
        yield client


def sign_in(client: httpx.Client, form: str) -> httpx.Response:
    return client.post(f"{form}/auth/login", data={"username": "nobody", "password": "a wrong guess"})


def test_guessing_is_limited_in_every_address_form(stack: Stack, tmp_path: Path) -> None:
    policies = '{"login": {"requests": 2, "window": 86400}}'
    with gateway(stack, tmp_path, RATE_LIMIT_POLICIES=policies) as client:
        responses = [sign_in(client, form) for form in ("/api/v1", "/api", "")]
        assert client.get("/api/v1/posts").status_code == 200
    assert [response.status_code for response in responses] == [401, 401, 429]
    assert responses[0].headers["ratelimit-policy"] == f'"address";q=1000;w={DAY}, "login";q=2;w=86400'
    assert int(responses[2].headers["retry-after"]) > 0
    assert responses[2].json()["type"] == "too-many-requests"


def test_a_subject_is_limited_by_its_token(stack: Stack, client: httpx.Client, tmp_path: Path) -> None:
    anna = join(client)
    key = stack.settings["auth"]["PASETO_SECRET_KEY"]
    limits = {"RATE_LIMIT_REQUESTS": "3", "PASETO_SECRET_KEY": key, "TRUSTED_PROXIES": "127.0.0.0/8"}
    with gateway(stack, tmp_path, **limits) as limited:

        def read(host: int, headers: dict[str, str]) -> int:
            forwarded = {"X-Forwarded-For": f"192.0.2.{host}"}
            return limited.get("/api/v1/auth/me", headers=headers | forwarded).status_code

        assert [read(host, anna.headers) for host in (1, 2, 3, 4)] == [200, 200, 200, 429]
        # The service refuses a request with an invalid token, which is counted for its address only.
        broken = {"Authorization": anna.headers["Authorization"][:-1]}
        assert [read(5, broken) for _ in range(4)] == [401, 401, 401, 429]
    assert key not in (tmp_path / "gateway_one.log").read_text()


@needs_redis
def test_two_gateways_share_a_redis_and_work_without_it(stack: Stack, tmp_path: Path) -> None:
    with redis_server(tmp_path) as redis:
        shared = {"RATE_LIMIT_STORAGE_URL": redis.url, "RATE_LIMIT_REQUESTS": "3"}
        with gateway(stack, tmp_path, **shared) as one, gateway(stack, tmp_path, "other", **shared) as other:
            statuses = [client.get("/api/v1/posts").status_code for client in (one, other, one, other, one)]
            assert statuses == [200, 200, 200, 429, 429]
            redis.kill()
            for client in (one, other):
                assert [client.get("/api/v1/posts").status_code for _ in range(4)] == [200] * 4
                # Sign-ins, which may be guesses, are counted by each gateway itself.
                assert [sign_in(client, "").status_code for _ in range(4)] == [401, 401, 401, 429]
            assert one.get("/health/ready").status_code == 200
