"""The settings of the kit in those of a service."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import pytest
from kpi_kit.settings import KitSettings
from kpi_shared.parts import Part
from kpi_shared.setting_reports.report import report
from kpi_shared.settings import ServiceSettings, SettingsError
from pydantic import Field, SecretStr

SECRETS = {
    "HTTP_URL": "https://name:hunter2@api.example.com/v1",
    "MAIL_URL": "smtp://name:hunter2@mail.example.com:587",
    "MAIL_DRIVERS": '{"bulk": "sendgrid://:hunter2@api.sendgrid.com"}',
    "CACHE_URL": "redis://:hunter2@cache:6379/0",
    "CACHE_STORES": '{"sessions": "redis://:hunter2@cache:6379/1"}',
    "STORAGE_URL": "s3://bucket/prefix?secret=hunter2",
    "STORAGE_DISKS": '{"invoices": "s3://other?secret=hunter2"}',
    "QUEUE_URL": "postgresql://shop:hunter2@db/shop",
    "EVENTS_URL": "nats://hunter2@nats:4222",
    "NOTIFY_URLS": '{"slack": "slack://hunter2@channel"}',
    "CRYPT_KEYS": '{"2026": "hunter2"}',
    "CRYPT_FERNET_KEYS": '["hunter2"]',
    "CRYPT_CBC_KEYS": '["hunter2"]',
}
PLAIN = {"MAIL_FROM": "a@example.com", "MAIL_TEMPLATES": "kpi_shop", "HASHING_URL": "argon2id://?time_cost=3"}


class ShopSettings(ServiceSettings, KitSettings):
    part: ClassVar[Part] = Part(name="shop", package="kpi_shop", port=8003)

    pieces: int = Field(default=1, title="Shop", description="How many pieces.")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    for name in ShopSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(f"{name.upper()}_FILE", raising=False)
    monkeypatch.setenv("CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", "postgresql://shop:long-and-random@127.0.0.1/shop")
    monkeypatch.setenv("PASETO_SECRET_KEY", sha256(b"a key of a test").hexdigest())
    return monkeypatch


def report_settings() -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in report(ShopSettings)["settings"]}


def test_values_come_from_the_environment_and_from_files(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "cache"
    file.write_text("redis://:hunter2@other:6379/0\n")
    environment.setenv("CACHE_URL_FILE", str(file))
    for name, value in {**SECRETS, **PLAIN}.items():
        environment.setenv(name, "" if name == "CACHE_URL" else value)
    settings = ShopSettings.load()
    for name, value in {**SECRETS, "CACHE_URL": file.read_text().strip()}.items():
        found = getattr(settings, name.lower())
        if isinstance(found, dict):
            assert {key: each.get_secret_value() for key, each in found.items()} == json.loads(value)
        elif isinstance(found, list):
            assert [each.get_secret_value() for each in found] == json.loads(value)
        else:
            assert found.get_secret_value() == value
    assert settings.mail_from == "a@example.com"
    assert "hunter2" not in repr(settings)


def test_nothing_is_set_by_default_and_an_empty_variable_is_not_set(environment: pytest.MonkeyPatch) -> None:
    for name in {**SECRETS, **PLAIN}:
        environment.setenv(name, "")
    settings = ShopSettings.load()
    assert [name for name in KitSettings.model_fields if getattr(settings, name)] == []


def test_each_setting_is_described_and_no_secret_is_shown(environment: pytest.MonkeyPatch) -> None:
    for name, value in {**SECRETS, **PLAIN}.items():
        environment.setenv(name, value)
    found = report_settings()
    kit = [found[name.upper()] for name in KitSettings.model_fields]
    assert [each["name"] for each in kit if not each["description"].endswith(".")] == []
    assert [each["name"] for each in kit if each["origin"] != "environment"] == []
    assert {each["group"] for each in kit} == {"Libraries of the kit (docs/kit.md)"}
    assert found["PIECES"]["group"] == "Shop"
    assert set(SECRETS) == {each["name"] for each in kit if each["is_secret"]}
    whole = report(ShopSettings)
    assert whole["problems"] == []
    assert "hunter2" not in json.dumps(whole)
    assert found["HASHING_URL"]["value"] == "argon2id://?time_cost=3"
    assert '# CACHE_STORES={"sessions": "redis://127.0.0.1:6379/1"}' in whole["example"].splitlines()


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("MAIL_DRIVERS", "MAIL_URL"),
        ("CACHE_STORES", "CACHE_URL"),
        ("CRYPT_FERNET_KEYS", "CRYPT_KEYS"),
        ("CRYPT_CBC_KEYS", "CRYPT_KEYS"),
        ("MAIL_FROM", "MAIL_URL"),
        ("MAIL_TEMPLATES", "MAIL_URL"),
    ],
)
def test_a_setting_that_has_no_effect_alone_is_refused(name: str, needed: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv(name, {**SECRETS, **PLAIN}[name])
    with pytest.raises(SettingsError, match=f"{name}.* without {needed}") as caught:
        ShopSettings.load()
    assert "hunter2" not in str(caught.value)


class OwnSettings(ShopSettings):
    in_own_database: ClassVar = ("queue", "events")

    mail_templates: str | None = "kpi_shop"


def test_what_is_in_the_database_of_the_service_needs_no_url(environment: pytest.MonkeyPatch) -> None:
    """And a default of the class is no setting that would need another one."""
    environment.setenv("EVENTS_URL", "nats://127.0.0.1:4222")
    settings = OwnSettings.load()
    assert settings.queue_url == SecretStr("postgresql://shop:long-and-random@127.0.0.1/shop")
    assert settings.events_url == SecretStr("nats://127.0.0.1:4222")
    assert ShopSettings.load().queue_url is None


def test_a_wrong_form_is_refused_without_its_value(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("CACHE_STORES", '["redis://:hunter2@cache"]')
    with pytest.raises(SettingsError, match="CACHE_STORES") as caught:
        ShopSettings.load()
    assert "hunter2" not in str(caught.value)
    environment.setenv("CACHE_STORES", "redis://:hunter2@cache")
    with pytest.raises(SettingsError, match="cache_stores") as caught:
        ShopSettings.load()
    assert "hunter2" not in str(caught.value)
