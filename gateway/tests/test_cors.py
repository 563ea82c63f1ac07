"""Which origins may call the API from a browser."""

from typing import ClassVar, Self

import httpx
import pytest
from gateway_support import Echo, Wire, gateway, send_raw, serving
from kpi_gateway.app import create_app
from kpi_gateway.settings import GatewaySettings
from kpi_gateway.upstream.streams import StreamPlaces
from kpi_shared.settings import SettingsError

OWN = "https://app.example.com"
OTHER = "https://other.example.com"
LOCAL = ("http://localhost:3000", "http://127.0.0.1:3000", "http://localhost:5173", "http://127.0.0.1:5173")


def preflight(origin: str, method: str = "DELETE") -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization, x-anything",
    }


async def test_the_gateway_responds_to_a_preflight(client: httpx.AsyncClient, echo: Echo) -> None:
    response = await client.options("/api/v1/posts/1", headers=preflight(OWN))
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == OWN
    assert response.headers["access-control-allow-credentials"] == "true"
    assert "DELETE" in response.headers["access-control-allow-methods"]
    assert response.headers["access-control-allow-headers"] == "authorization, x-anything"
    assert echo.seen == []


@pytest.mark.parametrize(("origin", "method"), [(OTHER, "GET"), ("null", "GET"), (OWN, "BREW")])
async def test_a_preflight_that_is_not_allowed_is_a_problem(
    client: httpx.AsyncClient, origin: str, method: str
) -> None:
    response = await client.options("/api/v1/posts", headers=preflight(origin, method))
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == "cross-origin"
    assert response.json()["instance"] == response.headers["x-request-id"]
    assert response.headers.get("access-control-allow-origin") != OTHER


async def test_a_response_names_the_origin_that_may_read_it(client: httpx.AsyncClient) -> None:
    response = await client.get("/posts", headers={"Origin": OWN})
    assert response.headers["access-control-allow-origin"] == OWN
    assert response.headers["access-control-allow-credentials"] == "true"
    exposed = response.headers["access-control-expose-headers"].split(", ")
    assert {"ETag", "Retry-After", "X-Request-ID", "X-RateLimit-Remaining", "RateLimit"} <= set(exposed)
    assert {"Location", "WWW-Authenticate"} <= set(exposed)
    assert "Origin" in response.headers["vary"]


async def test_another_origin_is_not_allowed(client: httpx.AsyncClient) -> None:
    response = await client.get("/posts", headers={"Origin": OTHER})
    assert response.status_code == 200
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("path", ["/nothing", "/posts/%2e%2e", "/", "/openapi.json"])
async def test_the_gateways_own_responses_allow_the_origin(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(path, headers={"Origin": OWN})
    assert response.headers["access-control-allow-origin"] == OWN


async def test_an_unexpected_error_allows_the_origin() -> None:
    class Broken:
        def __init__(self, _settings: GatewaySettings) -> None:
            pass

        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *_exception: object) -> None:
            pass

        upstreams: ClassVar[dict[str, object]] = {}
        streams = StreamPlaces(1, per_client=1, silence=1.0)

        def addresses(self) -> list[object]:
            return []

        async def send(self, _request: object) -> None:
            raise RuntimeError("something secret")

    app = create_app(GatewaySettings(cors_origins=(OWN,)), client=Broken)  # type: ignore[arg-type] it is broken
    async with serving(app) as address, httpx.AsyncClient(trust_env=False) as client:
        response = await client.get(f"{address}/posts", headers={"Origin": OWN})
    assert response.status_code == 500
    assert response.json()["type"] == "internal-error"
    assert "secret" not in response.text
    assert response.headers["access-control-allow-origin"] == OWN


async def test_without_configured_origins_none_is_allowed() -> None:
    async with gateway(app_env="production") as address, httpx.AsyncClient(trust_env=False) as client:
        response = await client.get(address, headers={"Origin": LOCAL[0]})
        refused = await client.options(f"{address}/posts", headers=preflight(LOCAL[0]))
    assert response.status_code == 200
    assert "access-control-allow-origin" not in response.headers
    assert refused.status_code == 400


HEAD = b"POST /auth/login HTTP/1.1\r\nHost: a\r\nOrigin: %b\r\n"
REFUSED = [
    (400, HEAD + b"Host: b\r\n\r\n"),
    (408, HEAD),
    (408, HEAD + b"Content-Length: 9\r\n\r\nx"),
    (414, HEAD.replace(b"login", b"a" * 9000) + b"\r\n"),
    (431, HEAD + b"x: y\r\n" * 100 + b"\r\n"),
    (503, HEAD + b"\r\n"),
]


@pytest.mark.parametrize(("status", "request_bytes"), REFUSED)
async def test_the_servers_own_refusals_allow_the_origin(
    monkeypatch: pytest.MonkeyPatch, status: int, request_bytes: bytes
) -> None:
    if status == 408:
        for name in ("HEAD_TICKS", "PACE_TICKS"):
            monkeypatch.setattr(f"kpi_shared.server.connections.{name}", 1)
    async with (
        gateway(cors_origins=(OWN,), max_connections_per_address=1 if status == 503 else 100) as address,
        await Wire.to(address) as occupied,
    ):
        # It has a response, so it counts as a connection.
        await occupied.send(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        await occupied.head()
        for origin, allowed in ((OWN, OWN), (OTHER, None)):
            head = (await send_raw(address, request_bytes % origin.encode())).partition(b"\r\n\r\n")[0]
            status_line, *lines = head.decode().split("\r\n")
            fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            assert status_line.split()[1] == str(status)
            assert fields["vary"] == "Origin"
            assert fields.get("access-control-allow-origin") == allowed
            assert fields.get("access-control-allow-credentials") == ("true" if allowed else None)
            assert ("Retry-After" in fields.get("access-control-expose-headers", "").split(", ")) is bool(allowed)


async def test_without_configured_origins_refusals_do_not_vary() -> None:
    async with gateway(app_env="production") as address:
        response = await send_raw(address, REFUSED[0][1] % OWN.encode())
    assert response.startswith(b"HTTP/1.1 400 ")
    assert b"origin" not in response.lower()


@pytest.mark.parametrize(
    ("origins", "reason"),
    [
        ("*", "CORS_ORIGINS: '*' cannot be combined with credentials; name the origins"),
        ("https://a.example.com,*", "'*' cannot be combined"),
        ("app.example.com", "an origin must be scheme:"),
        ("https://a.example.com/", "an origin must be scheme:"),
        ("https://a.example.com/path", "an origin must be scheme:"),
        ("https://*.example.com", "an origin must be scheme:"),
        ("ftp://a.example.com", "an origin must be scheme:"),
        ("https://user@a.example.com", "an origin must be scheme:"),
        ("https://a.example.com:", "an origin must be scheme:"),
        ("null", "an origin must be scheme:"),
        ("https://a.example:443", "CORS_ORIGINS: browsers omit the default port of https; write https://a.example"),
        ("http://a:80", "CORS_ORIGINS: browsers omit the default port of http; write http://a"),
        ("http://[::1]:80", "browsers omit the default port of http; write http://[::1]"),
        ("http://a:0", "CORS_ORIGINS: 0 is not a port; use 1 to 65535"),
        ("http://a:65536", "65536 is not a port"),
        ("http://a:99999", "99999 is not a port"),
        ("http://a:03000", "03000 is not a port; use 1 to 65535, without leading zeros"),
        ("https://a.example.com https://b.example.com", "an origin must be scheme:"),
    ],
)
def test_invalid_origins_prevent_the_start(monkeypatch: pytest.MonkeyPatch, origins: str, reason: str) -> None:
    monkeypatch.setenv("CORS_ORIGINS", origins)
    with pytest.raises(SettingsError) as refusal:
        GatewaySettings.load()
    assert reason in str(refusal.value)


@pytest.mark.parametrize("port", ["0", "65536"])
def test_impossible_ports_of_upstreams_prevent_the_start_too(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    monkeypatch.setenv("AUTH_URL", f"http://a:{port}")
    with pytest.raises(SettingsError, match=f"AUTH_URL: {port} is not a port"):
        GatewaySettings.load()


@pytest.mark.parametrize(
    ("environment", "origins", "allowed"),
    [
        ("development", None, LOCAL),
        ("development", OWN, (OWN,)),
        ("staging", None, ()),
        ("production", None, ()),
        ("production", OWN, (OWN,)),
    ],
)
def test_front_ends_on_this_machine_are_allowed_in_development(
    monkeypatch: pytest.MonkeyPatch, environment: str, origins: str | None, allowed: tuple[str, ...]
) -> None:
    monkeypatch.setenv("APP_ENV", environment)
    if origins is not None:
        monkeypatch.setenv("CORS_ORIGINS", origins)
    assert GatewaySettings.load().allowed_origins == allowed


@pytest.mark.parametrize("origin", LOCAL)
async def test_a_front_end_on_this_machine_may_call_without_configuration(origin: str) -> None:
    async with gateway() as address, httpx.AsyncClient(trust_env=False) as client:
        allowed = await client.options(f"{address}/posts", headers=preflight(origin))
        response = await client.get(f"{address}/health", headers={"Origin": origin})
        other = await client.get(f"{address}/health", headers={"Origin": "http://localhost:3001"})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == origin
    assert response.headers["access-control-allow-origin"] == origin
    assert "access-control-allow-origin" not in other.headers


def test_origins_are_a_comma_separated_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORS_ORIGINS", "https://App.example.com, http://localhost:3000,http://[::1]:3000,")
    settings = GatewaySettings.load()
    assert settings.allowed_origins == ("https://app.example.com", "http://localhost:3000", "http://[::1]:3000")
