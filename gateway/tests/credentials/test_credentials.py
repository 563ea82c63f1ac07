"""API keys at the gateway, with a stand-in for auth's internal port that counts what it is asked."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from gateway_support import Echo, closed_port, gateway, headers_of, responding, serving
from kpi_gateway.credentials import batches, grants, uses
from kpi_shared.api_key_form import checksum
from kpi_shared.testing.process import free_port
from redis_support import needs_redis, redis_server
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

pytestmark = pytest.mark.anyio
INTERNAL_KEY = secrets.token_hex(32)
DAY = 86_400


def make_key(key_id: int = 1) -> str:
    body = f"kpi_test_{key_id}_{secrets.token_hex(22)[:43]}"
    return body + checksum(body)


def header(key: str) -> dict[str, str]:
    return {"X-API-Key": key}


def problem(status: int, type_: str) -> Response:
    return JSONResponse({"type": type_}, status)


@dataclass
class Auth:
    """The internal port: responds to every exchange with ``grant``, unless there is a ``response``.

    ``results`` are those of single keys. An old one does not know exchanges of several keys.
    """

    exchanged: list[str] = field(default_factory=list)
    reports: list[dict[str, Any]] = field(default_factory=list)
    grant: dict[str, Any] = field(default_factory=dict)
    response: Response | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    timeouts: list[str] = field(default_factory=list)
    results: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    is_old: bool = False
    # How many keys each exchange had.
    batches: list[int] = field(default_factory=list)

    async def respond(self, request: Request) -> Response:
        assert request.headers["authorization"] == f"Bearer {INTERNAL_KEY}"
        members = await request.json()
        if request.url.path.endswith("/uses"):
            self.reports.append(members)
            return Response(status_code=204)
        if self.is_old and "keys" in members:
            return problem(404, "not-found")
        keys = members.get("keys") or [members["key"]]
        self.exchanged += keys
        self.batches.append(len(keys))
        self.timeouts.append(request.headers["x-request-timeout"])
        await self.gate.wait()
        if self.response is not None:
            return self.response
        if "keys" in members:
            return JSONResponse({"exchanged": [self.exchange(key) for key in keys]})
        return JSONResponse(self.exchange(keys[0]))

    def exchange(self, key: str) -> dict[str, Any] | None:
        if key in self.results:
            return self.results[key]
        granted = {"key_id": int(key.split("_")[2]), "user_id": 7, "scopes": ["read"]}
        limits = {"allowed_networks": [], "rate_limit": None, "key_expires_at": None}
        token = {"access_token": f"v4.local.{len(self.exchanged)}", "expires_in": 60}
        return granted | limits | token | self.grant


@dataclass
class Setup:
    auth: Auth
    echo: Echo
    client: httpx.AsyncClient


@asynccontextmanager
async def keyed_gateway(**settings: object) -> AsyncIterator[Setup]:
    auth, echo = Auth(), Echo()
    auth.gate.set()
    async with serving(responding(auth.respond)) as internal, serving(echo) as upstream:
        given = {"auth_internal_url": internal, "internal_key": INTERNAL_KEY}
        urls = {"auth_url": upstream, "content_url": upstream}
        async with (
            gateway(**{**urls, **given, **settings}) as address,
            httpx.AsyncClient(base_url=address, trust_env=False, timeout=20) as client,
        ):
            yield Setup(auth, echo, client)


@pytest.fixture
async def setup() -> AsyncIterator[Setup]:
    async with keyed_gateway() as found:
        yield found


SPELLINGS = (
    "X-API-Key",
    "x_api_key",
    "X-Api_Key",
    "x.api.key",
    "Octopus-API-Key",
    "octopus_api_key",
    "OCTOPUS-API_KEY",
)


@pytest.mark.parametrize("name", SPELLINGS)
async def test_no_service_sees_a_key_in_any_spelling(setup: Setup, name: str) -> None:
    key = make_key()
    response = await setup.client.get("/posts", headers={name: key})
    assert response.status_code == 200
    assert key not in str(setup.echo.seen)


@pytest.mark.parametrize("fields", [{"X-API-Key": "{}"}, {"Octopus-API-Key": "{}"}, {"Authorization": "bearer  {}"}])
async def test_the_service_gets_a_token_in_place_of_the_key(setup: Setup, fields: dict[str, str]) -> None:
    key = make_key()
    sent = {name: value.format(key) for name, value in fields.items()}
    response = await setup.client.post("/posts?a=1", headers=sent, content=b"body")
    assert response.status_code == 200
    seen = headers_of(setup.echo.seen[0])
    assert seen["authorization"] == "Bearer v4.local.1"
    assert "X-API-Key, Octopus-API-Key" in response.headers["vary"]
    assert setup.echo.seen[0]["body"] == "body"
    assert key not in str(setup.echo.seen)
    assert setup.auth.exchanged == [key]


@pytest.mark.parametrize("scheme", ["Bearer ", "Basic ", "ApiKey ", ""])
async def test_without_an_internal_port_keys_are_refused(address: str, echo: Echo, scheme: str) -> None:
    async with httpx.AsyncClient(base_url=address, trust_env=False) as client:
        for sent in (header(make_key()), {"Authorization": f"{scheme}{make_key()}"}):
            response = await client.get("/posts", headers=sent)
            assert (response.status_code, response.json()["type"]) == (401, "api-keys-not-accepted")
    assert echo.seen == []


async def test_a_token_passes_as_before(setup: Setup) -> None:
    await setup.client.get("/posts", headers={"Authorization": "Bearer v4.local.x"})
    assert headers_of(setup.echo.seen[0])["authorization"] == "Bearer v4.local.x"
    assert setup.auth.exchanged == []


@pytest.mark.parametrize(
    "form", ["{}", "Bearer x {}", 'Bearer "{}"', "Bearer ,{}", "Bearer v4.local.x {}", "Bearer v4.local.{}", "Basic {}"]
)
async def test_a_key_elsewhere_in_authorization_is_refused(setup: Setup, form: str) -> None:
    response = await setup.client.get("/posts", headers={"Authorization": form.format(make_key())})
    assert (response.status_code, response.json()["type"]) == (401, "invalid-api-key")
    assert (setup.echo.seen, setup.auth.exchanged) == ([], [])


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
async def test_a_token_may_contain_the_prefix_by_chance(setup: Setup, scheme: str) -> None:
    value = f"{scheme} v4.local.abckpi_test_def"
    await setup.client.get("/posts", headers={"Authorization": value})
    assert headers_of(setup.echo.seen[0])["authorization"] == value


async def test_a_key_is_no_request_id(setup: Setup) -> None:
    response = await setup.client.get("/posts", headers={"X-Request-ID": make_key()})
    assert "kpi_" not in response.headers["x-request-id"]
    assert "kpi_" not in str(setup.echo.seen)


async def test_one_burst_makes_one_exchange(setup: Setup) -> None:
    key = make_key()
    setup.auth.gate.clear()
    burst = [asyncio.create_task(setup.client.get("/posts", headers=header(key))) for _ in range(20)]
    while not setup.auth.exchanged:  # noqa: ASYNC110 the stand-in has no event for it
        await asyncio.sleep(0.01)
    setup.auth.gate.set()
    assert {response.status_code for response in await asyncio.gather(*burst)} == {200}
    assert setup.auth.exchanged == [key]


async def send_together(setup: Setup, keys: list[str]) -> list[httpx.Response]:
    """Requests that come while auth is asked about another key."""
    setup.auth.gate.clear()
    first = asyncio.create_task(setup.client.get("/posts", headers=header(make_key(999))))
    while not setup.auth.exchanged:  # noqa: ASYNC110 the stand-in has no event for it
        await asyncio.sleep(0.01)
    others = [asyncio.create_task(setup.client.get("/posts", headers=header(key))) for key in keys]
    await asyncio.sleep(0.1)
    setup.auth.gate.set()
    assert (await first).status_code == (503 if setup.auth.response else 200)
    return await asyncio.gather(*others)


async def test_keys_that_come_during_an_exchange_are_exchanged_together(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "PATIENCE_SECONDS", 20)
    monkeypatch.setattr(batches, "MAX_KEYS", 4)
    found = await send_together(setup, [make_key(number + 1) for number in range(6)])
    assert {response.status_code for response in found} == {200}
    assert sorted(setup.auth.batches) == [1, 2, 4]


async def test_each_key_of_a_batch_has_its_own_outcome(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "PATIENCE_SECONDS", 20)
    good, wrong, broken = (make_key(number + 1) for number in range(3))
    setup.auth.results = {wrong: None, broken: {"key_id": 3}}
    found = await send_together(setup, [wrong, good, broken])
    assert [response.status_code for response in found] == [401, 200, 503]
    assert setup.auth.batches == [1, 3]
    assert [(await setup.client.get("/posts", headers=header(key))).status_code for key in (good, wrong)] == [200, 401]
    assert setup.auth.batches == [1, 3]


async def test_auth_of_an_earlier_version_is_asked_about_each_key(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "PATIENCE_SECONDS", 20)
    setup.auth.is_old = True
    found = await send_together(setup, [make_key(number + 1) for number in range(3)])
    assert {response.status_code for response in found} == {200}
    assert setup.auth.batches == [1, 1, 1, 1]


async def test_all_keys_of_a_batch_get_503_if_auth_fails(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "PATIENCE_SECONDS", 20)
    setup.auth.response = Response("{}")
    found = await send_together(setup, [make_key(number + 1) for number in range(3)])
    assert {(it.status_code, it.json()["type"]) for it in found} == {(503, "api-keys-unavailable")}
    assert setup.auth.batches == [1, 3]


async def test_an_exchange_that_hangs_holds_no_others(setup: Setup) -> None:
    setup.auth.gate.clear()
    sent = []
    for number in range(3):
        sent.append(asyncio.create_task(setup.client.get("/posts", headers=header(make_key(number + 1)))))
        while len(setup.auth.exchanged) <= number:  # noqa: ASYNC110 the stand-in has no event for it
            await asyncio.sleep(0.01)
    setup.auth.gate.set()
    assert {response.status_code for response in await asyncio.gather(*sent)} == {200}
    assert setup.auth.batches == [1, 1, 1]


async def test_an_exchange_is_kept_for_seconds_from_its_start(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grants, "MAX_SECONDS", 0.3)
    key = make_key()
    setup.auth.gate.clear()
    first = asyncio.create_task(setup.client.get("/posts", headers=header(key)))
    # The exchange takes longer than it may be kept, so the next request needs another one.
    await asyncio.sleep(0.4)
    setup.auth.gate.set()
    assert (await first).status_code == 200
    assert (await setup.client.get("/posts", headers=header(key))).status_code == 200
    assert len(setup.auth.exchanged) == 2


async def test_while_auth_fails_a_key_that_is_kept_goes_on_and_others_get_503(setup: Setup) -> None:
    known = make_key(1)
    assert (await setup.client.get("/posts", headers=header(known))).status_code == 200
    for broken in (problem(503, "unavailable"), problem(401, "internal-key-required"), Response("{}"), Response("[1")):
        setup.auth.response = broken
        assert (await setup.client.get("/posts", headers=header(known))).status_code == 200
        refused = await setup.client.get("/posts", headers=header(make_key(2)))
        assert (refused.status_code, refused.json()["type"]) == (503, "api-keys-unavailable")
        assert refused.headers["retry-after"] == "1"


async def test_an_exchange_has_a_share_of_the_time_of_the_request() -> None:
    async with keyed_gateway(upstream_read_timeout=0.5) as setup:
        setup.auth.gate.clear()
        refused = await setup.client.get("/posts", headers=header(make_key()))
        setup.auth.gate.set()
        assert (refused.status_code, refused.json()["type"]) == (503, "api-keys-unavailable")
        assert int(setup.auth.timeouts[0]) < 400
        assert (await setup.client.get("/posts", headers=header(make_key()))).status_code == 200
        assert 0 < int(headers_of(setup.echo.seen[-1])["x-request-timeout"]) < 450


async def test_another_address_is_asked_if_one_is_down() -> None:
    auth = Auth()
    auth.gate.set()
    async with serving(responding(auth.respond)) as internal:
        urls = (closed_port(), internal)
        async with keyed_gateway(auth_internal_url=urls) as setup:
            responses = [await setup.client.get("/posts", headers=header(make_key(number + 1))) for number in range(4)]
    assert {response.status_code for response in responses} == {200}
    assert len(auth.exchanged) == 4


async def test_a_refused_key_is_asked_about_once(setup: Setup) -> None:
    setup.auth.response = problem(401, "invalid-api-key")
    key = make_key()
    for _ in range(3):
        refused = await setup.client.get("/posts", headers=header(key))
        assert (refused.status_code, refused.json()["type"]) == (401, "invalid-api-key")
    assert setup.auth.exchanged == [key]


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


async def test_uses_and_refusals_are_reported_in_batches_and_at_the_end() -> None:
    async with keyed_gateway(trusted_proxies=("127.0.0.0/8",)) as setup:
        setup.auth.grant = {"allowed_networks": ["192.0.2.0/24"]}
        key = make_key(42)
        for address in ("192.0.2.1", "192.0.2.2", "198.51.100.1", "198.51.100.1"):
            await setup.client.get("/posts", headers=header(key) | {"X-Forwarded-For": address})
        reports = setup.auth.reports
        # The end of the gateway reports what is left. The stand-in for auth ends after it.
    found = [use for report in reports for use in report["uses"]]
    assert [(use["key_id"], use["address"]) for use in found][-1] == (42, "192.0.2.2")
    assert sum(use["count"] for use in found) == 2
    refused = [each for report in reports for each in report["refusals"]]
    assert {(each["key_id"], each["address"]) for each in refused} == {(42, "198.51.100.1")}
    assert sum(each["count"] for each in refused) == 2
    assert len(reports) <= 2


async def test_a_report_that_fails_is_not_repeated() -> None:
    kept = uses.Uses(max_kept=2)
    for key_id in (1, 1, 2, 3):
        kept.add(key_id, "192.0.2.1")
    assert kept.lost == 1

    class Down:
        async def post(self, *_: object, **__: object) -> tuple[int, bytes]:
            raise TimeoutError

    assert not await kept.report(Down())  # type: ignore[arg-type]
    assert kept.lost == 4
    assert not await kept.report(Down())  # type: ignore[arg-type]
    assert kept.lost == 4


async def test_two_credentials_are_refused(setup: Setup) -> None:
    for fields in (
        {"X-API-Key": make_key(1), "Octopus-API-Key": make_key(2)},
        {"X-API-Key": make_key(1), "Authorization": "Bearer v4.local.x"},
        {"X-API-Key": make_key(1), "Authorization": "Basic YTpi"},
        [("Authorization", f"Bearer {make_key(1)}"), ("Authorization", "Bearer v4.local.x")],
        [("X-API-Key", make_key(1)), ("X-API-Key", make_key(2))],
    ):
        response = await setup.client.get("/posts", headers=fields)  # type: ignore[arg-type]
        assert (response.status_code, response.json()["type"]) == (400, "several-credentials")
    assert setup.auth.exchanged == []


async def test_pages_of_the_gateway_refuse_a_wrong_key_and_health_checks_ignore_it(setup: Setup) -> None:
    assert (await setup.client.get("/", headers=header("wrong"))).status_code == 401
    assert (await setup.client.get("/health/live", headers=header("wrong"))).status_code == 200


async def test_browsers_may_send_keys_from_allowed_origins() -> None:
    async with keyed_gateway(cors_origins=("https://app.example.com",)) as setup:
        asked = {
            "Origin": "https://app.example.com",
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "x-api-key, octopus-api-key",
        }
        response = await setup.client.options("/posts", headers=asked)
    assert response.status_code == 200
    allowed = {name.strip() for name in response.headers["access-control-allow-headers"].lower().split(",")}
    assert {"x-api-key", "octopus-api-key"} <= allowed


async def test_metrics_count_what_became_of_requests_with_keys() -> None:
    port = free_port()
    async with keyed_gateway(metrics_port=port) as setup:
        for _ in range(3):
            await setup.client.get("/posts", headers=header(make_key()))
        await setup.client.get("/posts", headers=header("wrong"))
        metrics = (await setup.client.get(f"http://127.0.0.1:{port}/metrics")).text
    assert 'kpi_gateway_key_requests_total{outcome="exchanged"} 3.0' in metrics
    assert 'kpi_gateway_key_requests_total{outcome="invalid"} 1.0' in metrics
    assert "kpi_gateway_key_exchanges_total 3.0" in metrics
