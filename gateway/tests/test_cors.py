"""Which pages may call the API from a browser."""

from typing import ClassVar, Self

import httpx
import pytest
from gateway_support import Echo, gateway, serving
from kpi_gateway.app import create_app
from kpi_gateway.settings import GatewaySettings
from kpi_shared.settings import SettingsError

OURS = "https://app.example.com"
OTHER = "https://other.example.com"


def preflight(origin: str, method: str = "DELETE") -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization, x-anything",
    }


async def test_a_preflight_is_answered_by_the_gateway(client: httpx.AsyncClient, echo: Echo) -> None:
    answer = await client.options("/api/v1/posts/1", headers=preflight(OURS))
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == OURS
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "DELETE" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == "authorization, x-anything"
    assert echo.seen == []


@pytest.mark.parametrize(("origin", "method"), [(OTHER, "GET"), ("null", "GET"), (OURS, "BREW")])
async def test_a_preflight_that_asks_too_much_is_a_problem(client: httpx.AsyncClient, origin: str, method: str) -> None:
    answer = await client.options("/api/v1/posts", headers=preflight(origin, method))
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "cross-origin"
    assert answer.json()["instance"] == answer.headers["x-request-id"]
    assert answer.headers.get("access-control-allow-origin") != OTHER


async def test_an_answer_says_who_may_read_it(client: httpx.AsyncClient) -> None:
    answer = await client.get("/posts", headers={"Origin": OURS})
    assert answer.headers["access-control-allow-origin"] == OURS
    assert answer.headers["access-control-allow-credentials"] == "true"
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    assert {"ETag", "Retry-After", "X-Request-ID", "X-RateLimit-Remaining", "RateLimit"} <= set(exposed)
    assert "Origin" in answer.headers["vary"]


async def test_another_origin_may_read_nothing(client: httpx.AsyncClient) -> None:
    answer = await client.get("/posts", headers={"Origin": OTHER})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("path", ["/nothing", "/posts/%2e%2e", "/", "/openapi.json"])
async def test_the_gateways_own_answers_say_it_too(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path, headers={"Origin": OURS})
    assert answer.headers["access-control-allow-origin"] == OURS


async def test_a_failure_that_nobody_foresaw_says_it_too() -> None:
    class Broken:
        def __init__(self, _settings: GatewaySettings) -> None:
            pass

        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *_exception: object) -> None:
            pass

        upstreams: ClassVar[dict[str, object]] = {}

        def addresses(self) -> list[object]:
            return []

        async def send(self, _request: object) -> None:
            raise RuntimeError("something secret")

    app = create_app(GatewaySettings(cors_origins=(OURS,)), client=Broken)  # type: ignore[arg-type] it is broken
    async with serving(app) as address, httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{address}/posts", headers={"Origin": OURS})
    assert answer.status_code == 500
    assert answer.json()["type"] == "internal-error"
    assert "secret" not in answer.text
    assert answer.headers["access-control-allow-origin"] == OURS


async def test_with_no_origins_set_none_is_allowed() -> None:
    async with gateway() as address, httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(address, headers={"Origin": OURS})
        refused = await client.options(f"{address}/posts", headers=preflight(OURS))
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers
    assert refused.status_code == 400


@pytest.mark.parametrize(
    ("origins", "said"),
    [
        ("*", "CORS_ORIGINS: '*' cannot be combined with credentials; name the origins"),
        ("https://a.example.com,*", "'*' cannot be combined"),
        ("app.example.com", "an origin is scheme:"),
        ("https://a.example.com/", "an origin is scheme:"),
        ("https://a.example.com/path", "an origin is scheme:"),
        ("https://*.example.com", "an origin is scheme:"),
        ("ftp://a.example.com", "an origin is scheme:"),
        ("https://user@a.example.com", "an origin is scheme:"),
        ("https://a.example.com:", "an origin is scheme:"),
        ("null", "an origin is scheme:"),
        ("https://a.example.com https://b.example.com", "an origin is scheme:"),
    ],
)
def test_origins_that_cannot_be_meant_stop_the_start(monkeypatch: pytest.MonkeyPatch, origins: str, said: str) -> None:
    monkeypatch.setenv("CORS_ORIGINS", origins)
    with pytest.raises(SettingsError) as refusal:
        GatewaySettings.load()
    assert said in str(refusal.value)


def test_origins_are_a_comma_separated_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORS_ORIGINS", "https://App.example.com, http://localhost:3000,http://[::1]:3000,")
    settings = GatewaySettings.load()
    assert settings.cors_origins == ("https://app.example.com", "http://localhost:3000", "http://[::1]:3000")
