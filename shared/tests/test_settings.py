"""The sources of settings, their precedence, and validation."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import boto3
import httpx
import pytest
from kpi_shared.parts import Part
from kpi_shared.settings import CommaSeparated, DatabaseSettings, ServiceSettings, SettingsError, TokenSettings
from moto.server import ThreadedMotoServer
from ring_support import MadeKey, make_local, make_public, ring_text

URL = "postgresql://kpi:quiet-pass@localhost:5432/kpi"
SECRET_VALUE = "value-that-must-not-leak"


class Settings(DatabaseSettings, TokenSettings):
    part: ClassVar[Part] = Part("sample", "package_that_is_not_there", 1)
    access_token_expire_minutes: int = 15
    cors_origins: CommaSeparated = ()


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only the settings of the test; the folder of a part that is not installed is the working folder."""
    for name in (*Settings.model_fields, "app_env"):
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(f"{name.upper()}_FILE", raising=False)
    monkeypatch.delenv("CONFIG_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()


@pytest.fixture
def complete(monkeypatch: pytest.MonkeyPatch) -> str:
    key = secrets.token_hex(32)
    monkeypatch.setenv("DATABASE_URL", URL)
    monkeypatch.setenv("PASETO_SECRET_KEY", key)
    return key


def test_environment_variables_are_sufficient(complete: str) -> None:
    settings = Settings.load()
    assert settings.paseto_secret_key.get_secret_value() == complete
    assert settings.database_url.get_secret_value() == URL.replace("postgresql://", "postgresql+psycopg://")
    assert settings.access_token_expire_minutes == 15


def test_all_missing_settings_are_named_at_once() -> None:
    with pytest.raises(SettingsError) as raised:
        Settings.load()
    for name in ("DATABASE_URL", "PASETO_SECRET_KEY"):
        assert f"{name}: is required and not set" in str(raised.value)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("s" * 36, "64 hex digits needed, got 36 characters"),
        ("ab" * 20, "64 hex digits needed, got 40 hex digits"),
        ("  ", "is required and not set|64 hex digits needed, got nothing"),
        ("g" * 64, "64 hex digits needed, got 64 characters"),
        ("0" * 64, "has too few distinct bytes"),
        ("deadbeef" * 8, "has too few distinct bytes"),
        (bytes(range(0x70, 0x90)).hex(), "has been published"),
        (bytes(range(32)).hex(), "has been published"),
    ],
)
def test_malformed_and_weak_keys_are_refused(
    complete: str, monkeypatch: pytest.MonkeyPatch, key: str, reason: str
) -> None:
    monkeypatch.setenv("PASETO_SECRET_KEY", key)
    with pytest.raises(SettingsError, match=f"PASETO_SECRET_KEY: .*({reason})|PASETO_SECRET_KEY: {reason}") as raised:
        Settings.load()
    assert not key.strip() or key not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:p@h/d",
        "h/d",
        "postgresql://u:p@h",
        "postgresql://u:p@h/",
        "postgresql://u:<password>@h/d",
        "postgresql://u:changeme@h/d",
        "postgresql://u:p@h:abc/d",
        "postgresql:/u",
    ],
)
def test_malformed_database_addresses_are_refused(complete: str, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(SettingsError, match=r"^DATABASE_URL: ") as raised:
        Settings.load()
    assert url not in str(raised.value)


def test_each_of_the_previous_keys_is_checked(complete: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [secrets.token_hex(32) for _ in range(2)]
    monkeypatch.setenv("PASETO_PREVIOUS_KEYS", f" {keys[0]}, {keys[1]} ,")
    assert [key.get_secret_value() for key in Settings.load().paseto_previous_keys] == keys
    monkeypatch.setenv("PASETO_PREVIOUS_KEYS", f"{keys[0]},{'0' * 64}")
    with pytest.raises(SettingsError, match="PASETO_PREVIOUS_KEYS: this key has too few distinct bytes"):
        Settings.load()


def test_the_file_of_the_environment_precedes_the_common_one(
    complete: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config/.env").write_text("ACCESS_TOKEN_EXPIRE_MINUTES=20\n")
    assert Settings.load().access_token_expire_minutes == 20
    (tmp_path / "config/.env.production").write_text("ACCESS_TOKEN_EXPIRE_MINUTES=30\n")
    assert Settings.load().access_token_expire_minutes == 20
    monkeypatch.setenv("APP_ENV", "production")
    assert Settings.load().access_token_expire_minutes == 30
    monkeypatch.setenv("ACCESS_TOKEN_EXPIRE_MINUTES", "40")
    assert Settings.load().access_token_expire_minutes == 40


def test_a_secret_is_read_from_a_named_file(complete: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = secrets.token_hex(32)
    (tmp_path / "key").write_text(f"{other}\n")
    monkeypatch.setenv("PASETO_SECRET_KEY_FILE", str(tmp_path / "key"))
    assert Settings.load().paseto_secret_key.get_secret_value() == complete
    monkeypatch.delenv("PASETO_SECRET_KEY")
    assert Settings.load().paseto_secret_key.get_secret_value() == other


def test_an_unreadable_file_is_named(complete: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PASETO_SECRET_KEY")
    monkeypatch.setenv("PASETO_SECRET_KEY_FILE", "/nowhere/key")
    with pytest.raises(SettingsError, match="PASETO_SECRET_KEY_FILE: /nowhere/key: No such file"):
        Settings.load()


@pytest.mark.parametrize(
    ("name", "value"),
    [("ACCESS_TOKEN_EXPIRE_MINUTES", "soon"), ("APP_ENV", "prod"), ("DEBUG", "perhaps"), ("LOG_LEVEL", "LOUD")],
)
def test_a_value_of_the_wrong_type_is_named(
    complete: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^{name}: "):
        Settings.load()


@pytest.mark.parametrize("value", ["collector:4317", "http://u:Zz-Tail/x@c", "http://u:Zz-Tail\u2100@c", "http://c:0"])
def test_an_invalid_collector_is_named_but_not_shown(
    complete: str, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", value)
    with pytest.raises(SettingsError, match=r"^OTEL_EXPORTER_OTLP_ENDPOINT: must be an address such as") as raised:
        Settings.load()
    assert "Tail" not in str(raised.value)


def test_a_repr_contains_no_secret(complete: str) -> None:
    shown = repr(Settings.load())
    assert complete not in shown
    assert "quiet-pass" not in shown


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def secret(aws: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    """Enable AWS secrets and return a function that stores a value in the secret of this test."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    name = f"kpi/{request.node.name}"
    monkeypatch.setenv("AWS_SECRETS_ENABLED", "true")
    monkeypatch.setenv("AWS_SECRET_NAME", name)
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws)
    manager = boto3.client("secretsmanager", region_name="eu-central-1", endpoint_url=aws)

    def put(value: str | bytes) -> None:
        content = {"SecretString": value} if isinstance(value, str) else {"SecretBinary": value}
        manager.create_secret(Name=name, **content)

    return put


def test_an_aws_secret_overrides_only_certain_settings(
    complete: str, monkeypatch: pytest.MonkeyPatch, secret: Any
) -> None:
    other = secrets.token_hex(32)
    values = {
        "DATABASE_URL": "postgresql://aws:p@db/kpi",
        "PASETO_SECRET_KEY": other,
        "ACCESS_TOKEN_EXPIRE_MINUTES": 5,
        "CORS_ORIGINS": "https://a.example,https://b.example",
        "DEBUG": "true",
        "TOKEN_ISSUER": "intruder",
    }
    secret(json.dumps(values))
    monkeypatch.setenv("ACCESS_TOKEN_EXPIRE_MINUTES", "99")
    settings = Settings.load()
    assert settings.database_url.get_secret_value() == "postgresql+psycopg://aws:p@db/kpi"
    assert settings.paseto_secret_key.get_secret_value() == other
    assert settings.access_token_expire_minutes == 5
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert not settings.debug
    assert settings.token_issuer == "kpi-one"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{" + SECRET_VALUE, "not valid JSON"),
        (json.dumps([SECRET_VALUE]), "not a JSON object"),
        (b"\x00binary", "binary"),
    ],
    ids=["cut", "list", "binary"],
)
def test_a_malformed_secret_stops_the_start(complete: str, secret: Any, text: str | bytes, reason: str) -> None:
    secret(text)
    with pytest.raises(SettingsError, match=f"AWS secret 'kpi/.*{reason}") as raised:
        Settings.load()
    assert SECRET_VALUE not in str(raised.value)


def test_an_invalid_value_in_a_secret_is_named_but_not_shown(complete: str, secret: Any) -> None:
    secret(json.dumps({"PASETO_SECRET_KEY": SECRET_VALUE}))
    with pytest.raises(
        SettingsError, match=r"PASETO_SECRET_KEY: 64 hex digits needed, got 24 .*AWS secret 'kpi/"
    ) as raised:
        Settings.load()
    assert SECRET_VALUE not in str(raised.value)


@pytest.mark.usefixtures("complete", "secret")
def test_a_missing_secret_is_named() -> None:
    with pytest.raises(SettingsError, match="AWS secret 'kpi/test_a_missing_secret_is_named': does not exist"):
        Settings.load()


@pytest.mark.usefixtures("complete", "secret")
def test_unreachable_aws_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(SettingsError, match=r"AWS secret 'kpi/.*cannot be read"):
        Settings.load()


@pytest.mark.usefixtures("complete", "secret")
def test_missing_permission_stops_the_start(aws: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """moto now checks permissions, and these credentials have none."""
    assert httpx.post(f"{aws}/moto-api/reset-auth", content=b"0").is_success
    try:
        with pytest.raises(SettingsError, match=r"AWS secret 'kpi/.*(cannot be read with|cannot be read \()"):
            Settings.load()
    finally:
        httpx.post(f"{aws}/moto-api/reset-auth", content=b"inf")


def test_enabled_aws_secrets_require_a_name(complete: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRETS_ENABLED", "true")
    with pytest.raises(SettingsError, match="AWS_SECRET_NAME: is required"):
        Settings.load()


def test_disabled_aws_secrets_cause_no_request(complete: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_NAME", "kpi/none")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert Settings.load().paseto_secret_key.get_secret_value() == complete


def write_ring(path: Path, made: MadeKey, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text(ring_text({made: "active"}))
    monkeypatch.setenv("PASETO_KEYS_FILE", str(path))


def test_a_key_ring_in_a_file_takes_the_place_of_the_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DATABASE_URL", URL)
    made = make_local()
    write_ring(tmp_path / "ring", made, monkeypatch)
    settings = Settings.load()
    assert list(settings.read_ring().states) == [made.kid]
    monkeypatch.setenv("PASETO_SECRET_KEY", secrets.token_hex(32))
    assert list(Settings.load().read_ring().states) == [made.kid]
    assert made.minting not in repr(settings) + str(settings.model_dump())


def test_a_key_ring_that_cannot_be_used_is_named(
    complete: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = make_local()
    write_ring(tmp_path / "ring", made, monkeypatch)
    (tmp_path / "ring").write_text(ring_text({made: "active", make_local(): "active"}))
    with pytest.raises(SettingsError, match=r"PASETO_KEYS_FILE: .*/ring: 2 keys are active; one must be"):
        Settings.load()
    (tmp_path / "ring").unlink()
    with pytest.raises(SettingsError, match=r"PASETO_KEYS_FILE: .*/ring: No such file or directory"):
        Settings.load()


def test_public_tokens_need_a_key_ring(complete: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TOKEN_PURPOSE", "public")
    with pytest.raises(SettingsError, match=r"TOKEN_PURPOSE: public needs a key ring"):
        Settings.load()
    made = make_public()
    (tmp_path / "ring").write_text(ring_text({made: "active"}, mints=False))
    monkeypatch.setenv("PASETO_KEYS_FILE", str(tmp_path / "ring"))
    assert list(Settings.load().read_ring().states) == [made.kid]


def test_a_key_ring_without_an_active_key_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", URL)
    path = tmp_path / "ring"
    write_ring(path, make_local(), monkeypatch)
    path.write_text(path.read_text().replace('"active"', '"killed"'))
    with pytest.raises(SettingsError, match=r"PASETO_KEYS_FILE: .*: no key is active; one must be"):
        Settings.load()


def test_a_key_ring_that_everyone_can_read_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DATABASE_URL", URL)
    path = tmp_path / "ring"
    write_ring(path, make_local(), monkeypatch)
    path.chmod(0o640)
    monkeypatch.setenv("APP_ENV", "production")
    (finding,) = Settings.load().findings
    assert (finding["ok"], finding["detail"]) == (True, "read by its owner and group alone")
    path.chmod(0o644)
    monkeypatch.setenv("PASETO_SECRET_KEY", secrets.token_hex(32))
    (finding,) = Settings.load().findings
    assert (finding["ok"], finding["fix"]) == (False, f"chmod o-rwx {path}")
    assert str(finding["detail"]).endswith("PASETO_SECRET_KEY is set and not used")
    monkeypatch.setenv("APP_ENV", "staging")
    assert Settings.load().findings[0]["ok"]


class Service(ServiceSettings):
    part: ClassVar[Part] = Part("sample", "package_that_is_not_there", 1)


@pytest.mark.parametrize(
    "url",
    [
        "/var/lib/files",
        "file://",
        "file:///",
        "file://host/folder",
        "file:///a/../b",
        "file:///a/%2e%2e/b",
        "s3://",
        "s3://UPPER/a",
        "s3://bucket?x=1",
        "https://bucket/a",
        "file:///a#b",
        "s3://[",
    ],
)
def test_malformed_places_of_files_are_refused(complete: str, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("FILES_URL", url)
    with pytest.raises(SettingsError, match=r"^FILES_URL: must be a folder"):
        Service.load()


def test_check_reports_the_place_of_files(complete: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def find() -> dict[str, object]:
        return next(finding for finding in Service.load().findings if finding["check"] == "files")

    assert find() == {"check": "files", "ok": True, "detail": "FILES_URL is not set: uploads are refused", "fix": ""}
    monkeypatch.setenv("FILES_URL", "s3://bucket/prefix")
    assert find()["detail"] == "in a bucket"
    monkeypatch.setenv("APP_ENV", "production")
    monkeypatch.setenv("FILES_URL", (tmp_path / "files" / "new").as_uri())
    assert find()["detail"] == f"in {tmp_path / 'files' / 'new'}, which all replicas must share"
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FILES_URL", (tmp_path / "file" / "below").as_uri())
    assert not find()["ok"]
