"""Rate limits over a real socket: which client is counted, by which policy, and what responses say."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import kpi_gateway
import pytest
from gateway_support import Echo, closed_port, gateway, headers_of, responding, serving
from kpi_shared.caller import Role
from kpi_shared.keys import parse_key
from kpi_shared.tokens import KeyRing, TokenCodec
from starlette.requests import Request
from starlette.responses import Response

pytestmark = pytest.mark.anyio
# Long enough that no window ends during a test.
DAY = 86_400
FIELDS = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit-policy", "ratelimit")


@asynccontextmanager
async def run_limited_gateway(requests: int = 3, **settings: object) -> AsyncIterator[tuple[httpx.AsyncClient, Echo]]:
    """A client of a gateway that allows ``requests`` per day, and the upstream behind it."""
    echo = Echo()
    given = {"rate_limit_enabled": True, "rate_limit_requests": requests, "rate_limit_window": DAY, **settings}
    async with (
        serving(echo) as upstream,
        gateway(**{"auth_url": upstream, "content_url": upstream, **given}) as address,
        httpx.AsyncClient(base_url=address, trust_env=False) as client,
    ):
        yield client, echo


def policies(**requests: int) -> dict[str, dict[str, int]]:
    return {name: {"requests": quota, "window": DAY} for name, quota in requests.items()}


async def test_responses_count_down_until_requests_are_refused() -> None:
    async with run_limited_gateway(2) as (client, echo):
        first, second, refused = [await client.get("/posts") for _ in range(3)]
    assert [response.status_code for response in (first, second, refused)] == [200, 200, 429]
    assert [response.headers["x-ratelimit-remaining"] for response in (first, second, refused)] == ["1", "0", "0"]
    assert first.headers["x-ratelimit-limit"] == "2"
    assert 0 < int(first.headers["x-ratelimit-reset"]) <= DAY
    assert first.headers["ratelimit-policy"] == f'"address";q=2;w={DAY}'
    assert first.headers["ratelimit"] == f'"address";r=1;t={first.headers["x-ratelimit-reset"]}'
    assert refused.headers["content-type"] == "application/problem+json"
    assert (refused.json()["type"], refused.json()["status"]) == ("too-many-requests", 429)
    # What OAuth2 libraries read.
    assert refused.json()["error"] == "temporarily_unavailable"
    assert refused.json()["instance"] == refused.headers["x-request-id"]
    assert refused.headers["retry-after"] == refused.headers["x-ratelimit-reset"]
    assert 0 < int(refused.headers["retry-after"]) <= DAY + 1
    assert len(echo.seen) == 2


async def test_rate_limit_fields_of_an_upstream_are_dropped() -> None:
    async def respond(_request: Request) -> Response:
        return Response(headers=dict.fromkeys(FIELDS, "7"))

    async with (
        serving(responding(respond)) as upstream,
        gateway(content_url=upstream, rate_limit_enabled=True) as address,
        httpx.AsyncClient(base_url=address, trust_env=False) as client,
    ):
        headers = (await client.get("/posts")).headers
    assert [headers.get_list(name)[1:] for name in FIELDS] == [[]] * len(FIELDS)
    assert headers["x-ratelimit-limit"] == "1000"


async def test_exactly_the_quota_passes_of_200_at_once() -> None:
    async with run_limited_gateway(150) as (client, echo):
        responses = await asyncio.gather(*(client.get("/posts", timeout=30) for _ in range(200)))
    statuses = [response.status_code for response in responses]
    assert (statuses.count(200), statuses.count(429)) == (150, 50)
    assert len(echo.seen) == 150
    left = sorted(int(response.headers["x-ratelimit-remaining"]) for response in responses if response.is_success)
    assert left == list(range(150))


async def test_failed_requests_and_unknown_paths_are_counted() -> None:
    async with run_limited_gateway(2, content_url=closed_port()) as (client, _echo):
        failed, unknown, refused = [await client.get(path) for path in ("/posts", "/nowhere", "/posts")]
    assert [response.status_code for response in (failed, unknown, refused)] == [502, 404, 429]
    assert failed.headers["x-ratelimit-remaining"] == "1"
    assert unknown.headers["x-ratelimit-remaining"] == "0"


async def test_health_checks_and_preflights_are_not_counted() -> None:
    origin = "https://app.example.com"
    preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    async with run_limited_gateway(1, cors_origins=(origin,)) as (client, _echo):
        for _ in range(3):
            assert (await client.get("/health")).status_code == 200
            assert "x-ratelimit-limit" not in (await client.get("/health/live")).headers
            assert (await client.options("/posts", headers=preflight)).status_code == 200
        assert (await client.get("/posts")).status_code == 200
        refused = await client.get("/posts", headers={"Origin": origin})
    assert refused.status_code == 429
    assert refused.headers["access-control-allow-origin"] == origin
    exposed = refused.headers["access-control-expose-headers"].lower().split(", ")
    assert {*FIELDS, "retry-after"} <= set(exposed)


async def test_limits_can_be_switched_off() -> None:
    async with run_limited_gateway(1, rate_limit_enabled=False) as (client, _echo):
        responses = [await client.get("/posts") for _ in range(3)]
    assert all(response.is_success and not set(FIELDS) & set(response.headers) for response in responses)


STRICT_ADDRESSES = [
    ("POST", "/auth/login", "login"),
    ("POST", "/auth/login/json", "login"),
    ("POST", "/auth/exchange", "login"),
    ("GET", "/auth/verify_supabase_token", "login"),
    ("POST", "/auth/change-password", "login"),
    ("POST", "/auth/change-email", "login"),
    ("POST", "/auth/verify-email", "login"),
    ("POST", "/users", "registration"),
    ("POST", "/auth/register", "registration"),
    ("POST", "/auth/forgot-password", "reset"),
    ("POST", "/auth/reset-password", "reset"),
    ("POST", "/auth/resend-verification", "reset"),
]


@pytest.mark.parametrize(("method", "path", "policy"), STRICT_ADDRESSES)
async def test_credentials_have_a_stricter_policy_in_addition_to_the_general_one(
    method: str, path: str, policy: str
) -> None:
    async with run_limited_gateway(100, rate_limit_policies=policies(**{policy: 1})) as (client, _echo):
        passed = await client.request(method, path)
        refused = await client.request(method, path)
        other = await client.get("/posts")
    assert [response.status_code for response in (passed, refused, other)] == [200, 429, 200]
    assert passed.headers["ratelimit-policy"] == f'"address";q=100;w={DAY}, "{policy}";q=1;w={DAY}'
    assert re.fullmatch(rf'"address";r=99;t=\d+, "{policy}";r=0;t=\d+', passed.headers["ratelimit"])
    # The tightest of the policies.
    assert (passed.headers["x-ratelimit-limit"], passed.headers["x-ratelimit-remaining"]) == ("1", "0")
    # The refused request was not counted.
    assert other.headers["x-ratelimit-remaining"] == "98"


@pytest.mark.parametrize(
    "spelling",
    [
        "/api/v1/auth/login",
        "/api/auth/login",
        "/auth/login/",
        "/auth/login/json/",
        "/auth/login%2Fjson",
        "/auth/login//",
        "/auth/%6cogin",
        "/auth/%6C%6F%67%69%6E",
        "/auth/login%2F",
        "/api/v1/auth/logi%6e?next=/posts",
        "/%61uth/login",
        "/%61pi/v1/auth/login/",
        "/auth/login/%2f",
    ],
)
async def test_no_spelling_bypasses_a_stricter_policy(spelling: str) -> None:
    async with run_limited_gateway(100, rate_limit_policies=policies(login=1)) as (client, echo):
        assert (await client.post("/auth/login")).status_code == 200
        assert (await client.post(spelling)).status_code == 429
        assert len(echo.seen) == 1


@pytest.mark.parametrize("spelling", ["/auth%2flogin", "/api%2Fv1/auth/login", "//auth/login", "/AUTH/login"])
async def test_other_spellings_reach_no_upstream(spelling: str) -> None:
    async with run_limited_gateway(100) as (client, echo):
        assert (await client.post(httpx.URL(str(client.base_url), raw_path=spelling.encode()))).status_code == 404
        assert echo.seen == []


@pytest.mark.parametrize(("method", "path", "policy"), STRICT_ADDRESSES)
async def test_a_trailing_slash_bypasses_no_policy(method: str, path: str, policy: str) -> None:
    async with run_limited_gateway(100, rate_limit_policies=policies(**{policy: 1})) as (client, echo):
        passed = await client.request(method, f"/api{path}/")
        refused = await client.request(method, f"/api/v1{path}")
    assert [passed.status_code, refused.status_code] == [200, 429]
    assert [request["path"] for request in echo.seen] == [f"{path}/"]


async def test_a_stricter_policy_applies_to_its_method_and_address_only() -> None:
    async with run_limited_gateway(100, rate_limit_policies=policies(registration=1)) as (client, _echo):
        others = [await client.get("/users"), await client.get("/users/7"), await client.post("/users/7/restore")]
    assert all(response.headers["ratelimit-policy"] == f'"address";q=100;w={DAY}' for response in others)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "::FFFF:C000:0201", True),
        ("192.0.2.1", "192.0.2.2", False),
        # Entries that the client wrote itself are further left.
        ("198.51.100.9, 192.0.2.1", "203.0.113.5, 192.0.2.1", True),
        ("192.0.2.1, 10.9.9.9", "192.0.2.1", True),
        # After an invalid entry the proxy that sent it is the client.
        ("192.0.2.1, unknown", "192.0.2.2, <script>", True),
        ("192.0.2.1:4711", "192.0.2.2:4711", True),
        ("", "1.2.3.4.5", True),
        ("192.0.2.01", "%00", True),
        ("fe80::1%eth0", "fe80::2%eth1", True),
    ],
)
async def test_which_addresses_are_one_client(first: str, second: str, same: bool) -> None:
    async with run_limited_gateway(1, trusted_proxies=("127.0.0.0/8", "10.0.0.0/8")) as (client, _echo):
        assert (await client.get("/posts", headers={"X-Forwarded-For": first})).status_code == 200
        response = await client.get("/posts", headers={"X-Forwarded-For": second})
    assert response.status_code == (429 if same else 200)


async def test_a_site_of_ipv6_has_a_higher_limit_of_its_own() -> None:
    settings = {"trusted_proxies": ("127.0.0.0/8",), "ipv6_site_factor": 3}
    async with run_limited_gateway(2, **settings) as (client, _echo):

        async def ask(address: str) -> httpx.Response:
            return await client.get("/posts", headers={"X-Forwarded-For": address})

        # Each from another /64 of one /48.
        allowed = [await ask(f"2001:db8:1:{number}::1") for number in range(6)]
        refused = await ask("2001:db8:1:6::1")
        others = [await ask("2001:db8:2:6::1"), *[await ask(f"192.0.2.{number}") for number in range(8)]]
    assert {response.status_code for response in (*allowed, *others)} == {200}
    assert allowed[0].headers["ratelimit-policy"] == f'"address";q=2;w={DAY}, "address-site";q=6;w={DAY}'
    assert others[1].headers["ratelimit-policy"] == f'"address";q=2;w={DAY}'
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0


async def test_several_forwarding_headers_are_read_as_one_list() -> None:
    async with run_limited_gateway(1, trusted_proxies=("127.0.0.0/8",)) as (client, echo):
        for given in ("192.0.2.7", "192.0.2.8"):
            fields = [("X-Forwarded-For", given), ("X-Forwarded-For", "192.0.2.1")]
            response = await client.get("/posts", headers=fields)
    assert response.status_code == 429
    assert headers_of(echo.seen[0])["x-forwarded-for"] == "192.0.2.1"


async def test_without_trusted_proxies_forwarding_headers_are_ignored() -> None:
    async with run_limited_gateway(1) as (client, echo):
        assert (await client.get("/posts", headers={"X-Forwarded-For": "192.0.2.1"})).status_code == 200
        assert (await client.get("/posts", headers={"X-Forwarded-For": "192.0.2.2"})).status_code == 429
    assert headers_of(echo.seen[0])["x-forwarded-for"] == "127.0.0.1"


@pytest.fixture
def codec(secret_key: str) -> TokenCodec:
    return TokenCodec(KeyRing.local(parse_key(secret_key)), issuer="kpi-one", audience="kpi-one")


def bearer(codec: TokenCodec, user_id: int, lifetime: timedelta = timedelta(minutes=5)) -> dict[str, str]:
    token = codec.mint(user_id=user_id, username="anna", role=Role.USER, session_id="1", lifetime=lifetime)
    return {"Authorization": f"Bearer {token}"}


async def test_a_token_is_limited_by_its_subject_from_any_address(secret_key: str, codec: TokenCodec) -> None:
    settings = {"trusted_proxies": ("127.0.0.0/8",), "paseto_secret_key": secret_key}

    def headers(user_id: int, host: int) -> dict[str, str]:
        # A different token of the same user each time.
        return {**bearer(codec, user_id), "X-Forwarded-For": f"192.0.2.{host}"}

    async with run_limited_gateway(2, **settings) as (client, echo):
        anna = [await client.get("/posts", headers=headers(1, host)) for host in (1, 2, 3)]
        ben = await client.get("/posts", headers=headers(2, 3))
    assert [response.status_code for response in anna] == [200, 200, 429]
    assert anna[0].headers["ratelimit-policy"] == f'"address";q=2;w={DAY}, "subject";q=2;w={DAY}'
    assert re.fullmatch(r'"address";r=1;t=\d+, "subject";r=0;t=\d+', anna[1].headers["ratelimit"])
    assert ben.status_code == 200
    assert len(echo.seen) == 3


async def test_one_address_is_limited_regardless_of_its_tokens(secret_key: str, codec: TokenCodec) -> None:
    async with run_limited_gateway(2, paseto_secret_key=secret_key) as (client, _echo):
        responses = [await client.get("/posts", headers=bearer(codec, user)) for user in (1, 2, 3)]
    assert [response.status_code for response in responses] == [200, 200, 429]


async def test_without_the_key_only_the_address_is_limited(codec: TokenCodec) -> None:
    async with run_limited_gateway(2) as (client, echo):
        response = await client.get("/posts", headers=bearer(codec, 1))
    assert response.headers["ratelimit-policy"] == f'"address";q=2;w={DAY}'
    assert headers_of(echo.seen[0])["authorization"].startswith("Bearer v4.local.")


@pytest.mark.parametrize(
    "authorization",
    ["Bearer v4.local.AAAA", "Bearer", "Bearer " + "v4.local." + "A" * 3000, "Basic YTpi", "", "Bearer \xe9\xff", "v4"],
)
async def test_an_invalid_token_is_forwarded_and_has_no_subject(secret_key: str, authorization: str) -> None:
    async with run_limited_gateway(2, paseto_secret_key=secret_key) as (client, echo):
        response = await client.get("/posts", headers=[(b"Authorization", authorization.encode())])
    assert response.status_code == 200
    assert response.headers["ratelimit-policy"] == f'"address";q=2;w={DAY}'
    assert len(echo.seen) == 1


async def test_expired_tokens_tokens_of_another_key_and_two_at_once_have_no_subject(
    secret_key: str, codec: TokenCodec
) -> None:
    other_codec = TokenCodec(KeyRing.local(secrets.token_bytes(32)), issuer="kpi-one", audience="kpi-one")
    two = [*bearer(codec, 1).items(), *bearer(codec, 2).items()]
    async with run_limited_gateway(9, paseto_secret_key=secret_key) as (client, _echo):
        for headers in (bearer(codec, 1, timedelta(seconds=-1)), bearer(other_codec, 1), two):
            response = await client.get("/posts", headers=headers)
            assert "subject" not in response.headers["ratelimit-policy"]


async def test_the_gateway_seals_no_token(secret_key: str, codec: TokenCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the key to open tokens, and creates none."""
    headers = bearer(codec, 1)

    def refuse(*_arguments: object, **_more: object) -> None:
        raise AssertionError("the gateway minted a token")

    for name in ("seal", "ProtocolVersion4.encrypt", "ProtocolVersion4.sign"):
        monkeypatch.setattr(f"kpi_shared.tokens.sealing.{name}", refuse)
    async with run_limited_gateway(100, paseto_secret_key=secret_key) as (client, _echo):
        for method, path, _policy in STRICT_ADDRESSES:
            assert (await client.request(method, path, headers=headers)).status_code in {200, 429}
        for path in ("/posts", "/openapi.json", "/docs", "/health/info"):
            assert (await client.get(path, headers=headers)).status_code == 200


def test_the_source_uses_nothing_that_seals_tokens() -> None:
    source = "".join(path.read_text() for path in Path(kpi_gateway.__path__[0]).rglob("*.py"))
    assert re.findall(r"\b(?:mint|seal|encrypt)\b|^(?:from|import) paseto", source, re.MULTILINE) == []
