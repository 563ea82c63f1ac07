"""What operators read about settings: no secret, where each comes from, and the example file."""

import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import pytest
from kpi_shared.parts import Part
from kpi_shared.setting_reports.example import write_example
from kpi_shared.setting_reports.masking import mask_credentials, mask_secret
from kpi_shared.setting_reports.report import report
from kpi_shared.settings import CommaSeparated, ServiceSettings
from pydantic import BaseModel, Field, SecretStr

PASSWORD = "hunter2/with:every@thing#1"
KEY = sha256(b"a key of a test").hexdigest()


class Provider(BaseModel):
    name: str
    secret: SecretStr | None = None


class ShopSettings(ServiceSettings):
    part: ClassVar[Part] = Part(name="shop", package="kpi_shop", port=8003)

    providers: tuple[Provider, ...] = Field(default=(), title="Shop", description="Who pays.", examples=["[]"])
    hosts: CommaSeparated = Field(default=("a", "b"), description="Hosts of {part}, separated by commas.")
    share: float = Field(default=0.5, gt=0, le=1_000_000, description="A share.")
    partner_url: str | None = Field(default=None, description="A partner.")


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of settings files, and no setting in the environment."""
    for name in ShopSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.delenv(f"{name.upper()}_FILE", raising=False)
    monkeypatch.setenv("CONFIG_DIR", str(tmp_path))
    return tmp_path


def find(name: str) -> dict[str, Any]:
    return next(setting for setting in report(ShopSettings)["settings"] if setting["name"] == name)


def test_each_source_is_named_and_the_first_one_wins(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    (folder / ".env").write_text("SHARE=0.25\nHOSTS=x,y\nLOG_LEVEL=ERROR\n")
    (folder / "share").write_text("0.75\n")
    monkeypatch.setenv("SHARE_FILE", str(folder / "share"))
    monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    found = {name: find(name) for name in ("SHARE", "HOSTS", "LOG_LEVEL", "DEBUG", "DATABASE_URL")}
    assert {name: (each["value"], each["origin"], each["place"]) for name, each in found.items()} == {
        "SHARE": ("0.75", "file", str(folder / "share")),
        "HOSTS": ("x,y", "settings-file", str(folder / ".env")),
        "LOG_LEVEL": ("DEBUG", "environment", "LOG_LEVEL"),
        "DEBUG": ("false", "default", None),
        "DATABASE_URL": (None, "not-set", None),
    }
    assert found["SHARE"]["default"] == "0.5"
    assert [name for name, each in found.items() if each["is_changed"]] == ["SHARE", "HOSTS", "LOG_LEVEL"]
    assert (found["SHARE"]["type"], found["HOSTS"]["type"]) == ("number, > 0, <= 1000000", "list, separated by commas")
    assert found["HOSTS"]["description"] == "Hosts of shop, separated by commas."
    assert report(ShopSettings)["settings_file"] == str(folder / ".env")


@pytest.mark.parametrize("name", ["DATABASE_URL", "PASETO_SECRET_KEY", "PASETO_PREVIOUS_KEYS"])
@pytest.mark.parametrize("form", ["postgresql://user:{}@host/name", "{}", "postgresql://user:{}", "postgresql://{}"])
@pytest.mark.parametrize("source", ["environment", "file", "settings-file"])
def test_no_secret_is_in_a_report_whether_it_is_valid_or_not(
    monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, form: str, source: str
) -> None:
    text = form.format(PASSWORD)
    (folder / "secret").write_text(text)
    if source == "environment":
        monkeypatch.setenv(name, text)
    elif source == "file":
        monkeypatch.setenv(f"{name}_FILE", str(folder / "secret"))
    else:
        (folder / ".env").write_text(f"{name}='{text}'\n")
    found = report(ShopSettings)
    assert next(each for each in found["settings"] if each["name"] == name)["origin"] == source
    assert "hunter2" not in json.dumps(found)


def test_secrets_inside_of_structures_and_of_addresses_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDERS", json.dumps([{"name": "one", "secret": PASSWORD}]))
    monkeypatch.setenv("PARTNER_URL", f"https://shop:{PASSWORD}@partner.example/path")
    assert find("PROVIDERS")["value"] == "***"
    assert find("PARTNER_URL")["value"] == "https://***@partner.example/path"
    # Not JSON: neither the value nor the error quotes it.
    monkeypatch.setenv("PROVIDERS", f"[{PASSWORD}")
    assert "hunter2" not in json.dumps(report(ShopSettings))


def test_the_host_of_a_valid_address_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASETO_SECRET_KEY", KEY)
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:hunter2@db1:5432/shop?application_name=hunter2")
    assert report(ShopSettings)["problems"] == []
    assert find("DATABASE_URL")["value"] == "postgresql://***@db1:5432/shop"


def test_a_part_that_cannot_start_still_shows_all_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARE", "-1")
    monkeypatch.setenv("HOSTS_FILE", "/nonexistent")
    unreadable = report(ShopSettings)
    assert unreadable["problems"] == ["HOSTS_FILE: /nonexistent: No such file or directory"]
    assert find("HOSTS")["problem"] == unreadable["problems"][0]
    monkeypatch.delenv("HOSTS_FILE")
    found = report(ShopSettings)
    assert "SHARE: Input should be greater than 0" in found["problems"]
    assert "DATABASE_URL: is required and not set" in found["problems"]
    assert find("SHARE")["value"] == "-1"
    assert len(found["settings"]) == len(ShopSettings.model_fields)


def test_every_setting_is_described() -> None:
    assert [each["name"] for each in report(ShopSettings)["settings"] if not each["description"]] == []


def test_the_defaults_of_an_example_are_those_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    with_examples = {name.upper() for name, field in ShopSettings.model_fields.items() if field.examples}
    lines = [line.removeprefix("# ") for line in write_example(ShopSettings).splitlines()]
    assigned = dict(line.split("=", 1) for line in lines if line.split("=")[0].lower() in ShopSettings.model_fields)
    assert {name.lower() for name in assigned} == set(ShopSettings.model_fields)
    for name, value in assigned.items():
        if name not in with_examples:
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:hunter2@db1:5432/shop")
    monkeypatch.setenv("PASETO_SECRET_KEY", KEY)
    given = ShopSettings.load()
    for name in assigned:
        if name not in {"DATABASE_URL", "PASETO_SECRET_KEY"}:
            monkeypatch.delenv(name, raising=False)
    assert given == ShopSettings.load()
    assert os.environ["DATABASE_URL"]


def test_what_is_required_is_not_a_comment_in_an_example() -> None:
    lines = write_example(ShopSettings).splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == [
        "PASETO_SECRET_KEY=",
        "DATABASE_URL=postgresql://shop:<password>@127.0.0.1:5432/shop",
    ]
    assert max(map(len, lines)) <= 120
    titles = [line for line in lines if line.startswith("# ===")]
    assert titles[0] == "# === General ==="
    assert titles[-1] == "# === AWS Secrets Manager ==="
    assert titles.index("# === Shop ===") < titles.index("# === AWS Secrets Manager ===")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("redis://:p@ss@host:1/0", "redis://***@host:1/0"),
        ("nats://token@a,nats://token@b", "nats://***@b"),
        ("see https://a:b@c/d for more", "see https://***@c/d for more"),
        ("http://host/path", "http://host/path"),
        ("a text with @ in it", "a text with @ in it"),
    ],
)
def test_credentials_in_texts_are_masked(text: str, masked: str) -> None:
    assert mask_credentials(text) == masked


def test_a_secret_that_is_no_address_is_masked_entirely() -> None:
    assert mask_secret("0123abc", is_valid=True) == "***"
    assert mask_secret("smtp://user:p@host", is_valid=False) == "***"
    assert mask_secret("smtp://host-or-password", is_valid=True) == "smtp://***"
    assert mask_secret("twilio://AC:token@host?from=@secret", is_valid=True) == "twilio://***"
    assert mask_secret("file:///mails", is_valid=True) == "file:///mails"
