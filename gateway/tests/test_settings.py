"""The route table and the upstreams' addresses, and which settings prevent the start."""

import json
import secrets
from collections.abc import Iterator

import boto3
import pytest
from kpi_gateway.limits.service import RateLimits
from kpi_gateway.routes import RouteTable
from kpi_gateway.settings import NO_KEYS, GatewaySettings
from kpi_shared.settings import SettingsError
from moto.server import ThreadedMotoServer
from pydantic import ValidationError


def test_the_default_table_has_the_platforms_paths() -> None:
    table = RouteTable.of(GatewaySettings())
    found = {
        path: table.match(f"/api/v1{path}".encode(), "POST")
        for path in ("/auth/login", "/users", "/posts/1", "/votes", "/conversations/1/messages", "/messages")
    }
    assert {path: match and match.route.upstream for path, match in found.items()} == {
        "/auth/login": "auth",
        "/users": "auth",
        "/posts/1": "content",
        "/votes": "content",
        "/conversations/1/messages": "content",
        "/messages": "content",
    }


def test_the_route_table_can_be_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSTREAMS", '{"billing": "http://billing:8003/"}')
    monkeypatch.setenv("ROUTES", '[{"prefix": "/invoices", "upstream": "billing"}]')
    table = RouteTable.of(GatewaySettings.load())
    assert table.upstreams == ["billing"]
    assert table.match(b"/posts", "GET") is None


def refusal(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> str:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as error:
        GatewaySettings.load()
    return str(error.value)


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("AUTH_URL", "auth:8001", "AUTH_URL: 'auth:8001' is not an upstream"),
        ("CONTENT_URL", "http://content:8002/api", "CONTENT_URL: 'http://content:8002/api' is not an upstream"),
        ("CONTENT_URL", "http://user:word@content", "CONTENT_URL"),
        ("UPSTREAMS", '{"x": "nowhere"}', "UPSTREAMS"),
        ("ROUTES", '[{"prefix": "/a", "upstream": "unknown"}]', "no address is configured for unknown"),
        (
            "ROUTES",
            '[{"prefix": "/a", "upstream": "auth"}, {"prefix": "/a", "upstream": "content"}]',
            "is listed twice",
        ),
        ("ROUTES", '[{"prefix": "/health", "upstream": "auth"}]', "a path that the gateway serves itself"),
        ("ROUTES", '[{"prefix": "/api/v1/x", "upstream": "auth"}]', "a path that the gateway serves itself"),
        ("ROUTES", '[{"prefix": "posts", "upstream": "auth"}]', "is not a prefix"),
        ("ROUTES", '[{"prefix": "/", "upstream": "auth"}]', "is not a prefix"),
        ("ROUTES", '[{"prefix": "/a/../b", "upstream": "auth"}]', "is not a prefix"),
        ("ROUTES", '[{"prefix": "/a", "upstream": "auth", "tiemout": 1}]', "ROUTES"),
        ("ROUTES", "{", "routes"),
        ("ROUTES", '[{"prefix": "/a", "upstream": "auth", "methods": ["FETCH"]}]', "ROUTES"),
        ("ROUTES", '[{"prefix": "/a", "upstream": "auth", "limit": "strict"}]', "RATE_LIMIT_POLICIES has no strict"),
        ("UPSTREAM_READ_TIMEOUT", "0", "UPSTREAM_READ_TIMEOUT"),
        ("RATE_LIMIT_ENABLED", "perhaps", "RATE_LIMIT_ENABLED"),
        ("RATE_LIMIT_REQUESTS", "0", "RATE_LIMIT_REQUESTS"),
        ("RATE_LIMIT_WINDOW", "86401", "RATE_LIMIT_WINDOW"),
        ("RATE_LIMIT_POLICIES", '{"login": {"requests": 0}}', "RATE_LIMIT_POLICIES"),
        ("RATE_LIMIT_POLICIES", '{"a\\"b": {"requests": 1}}', "is not a policy name"),
        ("RATE_LIMIT_POLICIES", '{"address": {"requests": 1}}', "is not a policy name"),
        ("RATE_LIMIT_POLICIES", "20", "RATE_LIMIT_POLICIES"),
        ("PASETO_SECRET_KEY", "0" * 64, "PASETO_SECRET_KEY: "),
    ],
)
def test_invalid_settings_prevent_the_start_with_one_sentence(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, reason: str
) -> None:
    assert reason in refusal(monkeypatch, variable, value)


@pytest.mark.parametrize(
    "value",
    [
        "http://:quiet-street@redis:6379",
        "redis:6379:quiet-street",
        "redis://:quiet-street@",
        "redis://:quiet-street@redis:70000",
        "redis://:quiet-street@redis:6379/limits",
        "redis://:quiet-street/word@redis:6379",
        "redis://:quiet-street\u2100@redis:6379",
    ],
)
def test_an_invalid_store_is_refused_without_showing_its_password(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    reason = refusal(monkeypatch, "RATE_LIMIT_STORAGE_URL", value)
    assert "RATE_LIMIT_STORAGE_URL: " in reason
    assert "quiet-street" not in reason


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("redis://redis/1", "redis://redis:6379/1"),
        ("rediss://:quiet-street@redis:6380/2", "rediss://:quiet-street@redis:6380/2"),
        ("valkey://valkey:6379", "redis://valkey:6379"),
        ("valkeys://valkey:6379", "rediss://valkey:6379"),
    ],
)
def test_a_store_is_redis_or_valkey(monkeypatch: pytest.MonkeyPatch, value: str, read: str) -> None:
    monkeypatch.setenv("RATE_LIMIT_STORAGE_URL", value)
    settings = GatewaySettings.load()
    assert settings.rate_limit_storage_url is not None
    assert settings.rate_limit_storage_url.get_secret_value() == read
    assert "quiet-street" not in repr(settings)
    assert RateLimits.of(settings) is not None


def test_policies_that_are_left_out_keep_their_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATE_LIMIT_POLICIES", '{"login": {"requests": 3, "window": 10}, "export": {"requests": 1}}')
    found = {
        name: (policy.requests, policy.window) for name, policy in GatewaySettings.load().rate_limit_policies.items()
    }
    defaults = {"registration": (10, 60), "reset": (5, 60), "credentials": (20, 60)}
    assert found == defaults | {"login": (3, 10), "export": (1, 60)}


@pytest.fixture(scope="module")
def secrets_manager() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, secrets_manager: str) -> str:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_SECRETS_ENABLED": "true",
        "AWS_SECRET_NAME": "kpi-one/gateway",
        "AWS_REGION": "eu-central-1",
        "AWS_ENDPOINT_URL": secrets_manager,
        "CORS_ORIGINS": "https://from-the-environment.example.com",
    }.items():
        monkeypatch.setenv(name, value)
    return secrets_manager


def _store(endpoint: str, values: dict[str, str]) -> None:
    manager = boto3.client("secretsmanager", region_name="eu-central-1", endpoint_url=endpoint)
    manager.create_secret(Name="kpi-one/gateway", SecretString=json.dumps(values))


def test_a_missing_secret_prevents_the_start(aws: str) -> None:
    with pytest.raises(SettingsError, match="'kpi-one/gateway': does not exist"):
        GatewaySettings.load()


def test_a_secret_overrides_the_origins_and_nothing_else(aws: str) -> None:
    _store(aws, {"CORS_ORIGINS": "https://a.example.com,https://b.example.com", "AUTH_URL": "http://elsewhere:1"})
    settings = GatewaySettings.load()
    assert settings.cors_origins == ("https://a.example.com", "https://b.example.com")
    assert settings.auth_url == ("http://127.0.0.1:8001",)


@pytest.mark.parametrize(("environment", "ok"), [("development", True), ("production", False)])
def test_the_check_says_that_no_keys_are_accepted(environment: str, ok: bool) -> None:
    found = GatewaySettings.model_validate({"app_env": environment}).findings[0]
    assert (found["check"], found["ok"], found["detail"]) == ("API keys", ok, NO_KEYS)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"internal_key": "ab" * 32},
        {"internal_key": secrets.token_hex(32), "auth_url": "http://auth:8011"},
        {"internal_key": secrets.token_hex(32), "upstreams": {"auth-internal": "http://other"}},
    ],
)
def test_an_internal_port_needs_a_key_and_an_address_of_its_own(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        GatewaySettings.model_validate({"auth_internal_url": "http://auth:8011", **settings})
    assert GatewaySettings.model_validate(
        {"auth_internal_url": "http://auth:8011,http://auth2:8011", "internal_key": secrets.token_hex(32)}
    ).findings[0]["ok"]
