"""What IDENTITY_PROVIDERS accepts, and what it refuses without showing a secret."""

import json
from pathlib import Path
from typing import Any

import pytest
from identity_support import SECRET, signing_key
from kpi_auth.settings import AuthSettings
from kpi_shared.settings import SettingsError

GOOD = {
    "name": "works",
    "issuer": "https://id.example.com",
    "audience": "kpi-one",
    "algorithms": ["RS256"],
    "jwks_url": "https://id.example.com/jwks",
}
SHARED = {"name": "shared", "issuer": "https://shared.example.com", "audience": "kpi-one", "algorithms": ["HS256"]}
SUPABASE = {"preset": "supabase", "project_url": "https://abcdef.supabase.co/"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, secret_key: str) -> pytest.MonkeyPatch:
    monkeypatch.setenv("DATABASE_URL", "postgresql://auth:r4nd0m@127.0.0.1:5432/auth")
    monkeypatch.setenv("PASETO_SECRET_KEY", secret_key)
    return monkeypatch


def _load(environment: pytest.MonkeyPatch, providers: object) -> AuthSettings:
    environment.setenv("IDENTITY_PROVIDERS", providers if isinstance(providers, str) else json.dumps(providers))
    return AuthSettings.load()


def test_several_providers_are_read(environment: pytest.MonkeyPatch) -> None:
    found = _load(environment, [GOOD, {**SHARED, "secret": SECRET}]).identity_providers
    assert [(item.name, item.algorithms) for item in found] == [("works", ("RS256",)), ("shared", ("HS256",))]
    assert SECRET not in repr(found)


def test_a_file_may_hold_them(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "providers").write_text(json.dumps([GOOD]))
    environment.setenv("IDENTITY_PROVIDERS_FILE", str(tmp_path / "providers"))
    assert AuthSettings.load().identity_providers[0].issuer == "https://id.example.com"


def test_supabase_is_a_preset(environment: pytest.MonkeyPatch) -> None:
    (found,) = _load(environment, [SUPABASE]).identity_providers
    assert (found.name, found.audience, found.secret) == ("supabase", "authenticated", None)
    assert found.issuer == "https://abcdef.supabase.co/auth/v1"
    assert found.jwks_url == "https://abcdef.supabase.co/auth/v1/.well-known/jwks.json"
    assert set(found.algorithms) == {"ES256", "RS256"}


def test_supabase_with_its_older_secret_has_no_other_keys(environment: pytest.MonkeyPatch) -> None:
    (found,) = _load(environment, [{**SUPABASE, "secret": SECRET}]).identity_providers
    assert (found.jwks_url, found.algorithms) == (None, ("HS256",))


BAD: list[tuple[str, Any, str]] = [
    ("no JSON", "[{", "a JSON list of providers is needed"),
    ("no list", {"name": "works"}, "a JSON list of providers is needed"),
    ("no object", ["works"], "provider 1: "),
    ("missing", [{"name": "works"}], "issuer: Field required"),
    ("unknown member", [{**GOOD, "jku": "x"}], "jku: Extra inputs are not permitted"),
    ("none", [{**GOOD, "algorithms": ["none"]}], "algorithms.0: Input should be"),
    ("None", [{**GOOD, "algorithms": ["RS256", "None"]}], "algorithms.1: Input should be"),
    ("no algorithm", [{**GOOD, "algorithms": []}], "algorithms: "),
    ("neither", [{**GOOD, "jwks_url": None}], "either jwks_url or secret is needed"),
    ("both", [{**GOOD, "secret": SECRET}], "either jwks_url or secret is needed"),
    ("HS with keys", [{**GOOD, "algorithms": ["RS256", "HS256"]}], "HS256 needs a secret, not a jwks_url"),
    ("RS with a secret", [{**SHARED, "secret": SECRET, "algorithms": ["HS256", "RS256"]}], "a secret can be used with"),
    ("http", [{**GOOD, "jwks_url": "http://id.example.com/jwks"}], "an https:// URL is needed"),
    ("a user", [{**GOOD, "jwks_url": "https://a@id.example.com/jwks"}], "an https:// URL is needed"),
    ("a file", [{**GOOD, "jwks_url": "file:///etc/passwd"}], "an https:// URL is needed"),
    ("short", [{**SHARED, "secret": SECRET[:31]}], "at least 32 bytes are needed"),
    ("short for 512", [{**SHARED, "secret": SECRET, "algorithms": ["HS512"]}], "at least 64 bytes are needed"),
    ("repeated", [{**SHARED, "secret": "ab" * 20}], "can be guessed"),
    ("published", [{**SUPABASE, "secret": "super-secret-jwt-token-with-at-least-32-characters-long"}], "well known"),
    ("a public key", [{**SHARED, "secret": signing_key("RS256").public_pem.decode()}], "which is not secret"),
    ("a name twice", [GOOD, {**GOOD, "issuer": "https://other.example.com"}], "two providers have the name 'works'"),
    ("an issuer twice", [GOOD, {**GOOD, "name": "other"}], "two providers have the issuer"),
    ("preset", [{**SUPABASE, "preset": "firebase"}], "preset: Input should be 'supabase'"),
]


@pytest.mark.parametrize(("providers", "reason"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_an_invalid_provider_is_refused_with_one_sentence(
    environment: pytest.MonkeyPatch, providers: object, reason: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        _load(environment, providers)
    message = str(refused.value)
    assert message.startswith("IDENTITY_PROVIDERS: ")
    assert reason in message
    assert "\n" not in message
    shown = json.dumps(providers)
    secret = next((item["secret"] for item in json.loads(shown) if "secret" in item), None) if "secret" in shown else ""
    assert not secret or secret not in message


def test_plain_http_is_only_for_loopback(environment: pytest.MonkeyPatch) -> None:
    for host in ("127.0.0.1:54321", "localhost", "[::1]:1"):
        assert _load(environment, [{**GOOD, "jwks_url": f"http://{host}/jwks"}]).identity_providers


def test_a_supabase_url_is_a_shorthand_for_the_preset(environment: pytest.MonkeyPatch) -> None:
    expected = _load(environment, [SUPABASE]).trusted_providers
    environment.setenv("IDENTITY_PROVIDERS", "")
    environment.setenv("SUPABASE_URL", "https://abcdef.supabase.co")
    assert AuthSettings.load().trusted_providers == expected
    works = _load(environment, [GOOD]).trusted_providers
    assert [provider.name for provider in works] == ["works", "supabase"]


def test_a_supabase_project_with_the_older_secret(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    expected = _load(environment, [{**SUPABASE, "secret": SECRET}]).trusted_providers
    environment.setenv("IDENTITY_PROVIDERS", "")
    environment.setenv("SUPABASE_URL", "https://abcdef.supabase.co/")
    (tmp_path / "secret").write_text(SECRET + "\n")
    environment.setenv("SUPABASE_JWT_SECRET_FILE", str(tmp_path / "secret"))
    settings = AuthSettings.load()
    assert settings.trusted_providers == expected
    assert SECRET not in repr(settings)


BAD_SHORTHANDS: list[tuple[dict[str, str], str, str]] = [
    ({"SUPABASE_URL": "abcdef.supabase.co"}, "SUPABASE_URL: ", "an https:// URL is needed"),
    ({"SUPABASE_URL": "http://abcdef.supabase.co"}, "SUPABASE_URL: ", "an https:// URL is needed"),
    ({"SUPABASE_URL": "https://abcdef.supabase.co/auth/v1"}, "SUPABASE_URL: ", "the URL of the project is needed"),
    ({"SUPABASE_URL": "https://abcdef.supabase.co?apikey=x"}, "SUPABASE_URL: ", "the URL of the project is needed"),
    ({"SUPABASE_JWT_SECRET": SECRET}, "SUPABASE_JWT_SECRET: ", "set SUPABASE_URL too"),
    (
        {"SUPABASE_URL": "https://abcdef.supabase.co", "SUPABASE_JWT_SECRET": SECRET[:31]},
        "SUPABASE_JWT_SECRET: ",
        "at least 32 bytes are needed",
    ),
    (
        {"SUPABASE_URL": "https://abcdef.supabase.co", "IDENTITY_PROVIDERS": json.dumps([SUPABASE])},
        "SUPABASE_URL: ",
        "set one of the two",
    ),
]


@pytest.mark.parametrize(("variables", "name", "reason"), BAD_SHORTHANDS, ids=str)
def test_an_invalid_shorthand_is_refused_with_one_sentence(
    environment: pytest.MonkeyPatch, variables: dict[str, str], name: str, reason: str
) -> None:
    for variable, value in variables.items():
        environment.setenv(variable, value)
    with pytest.raises(SettingsError) as refused:
        AuthSettings.load()
    # An error of more than one setting comes after "settings: ".
    message = str(refused.value).removeprefix("settings: ")
    assert message.startswith(name)
    assert reason in message
    assert "\n" not in message
    assert SECRET[:31] not in message
