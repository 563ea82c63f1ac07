"""The command line of a part."""

import socket
from typing import ClassVar

import pytest
from kpi_shared.parts import Part
from kpi_shared.server.runner import EX_CONFIG, build_or_exit, main
from kpi_shared.settings import DatabaseSettings, PartSettings

PART = Part("sample", "package_that_is_not_there", 1234)


class Plain(PartSettings):
    part: ClassVar[Part] = PART


class WithDatabase(DatabaseSettings):
    part: ClassVar[Part] = PART


def test_a_missing_setting_is_reported_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    assert main(PART, WithDatabase, ["migrate"]) == EX_CONFIG
    printed = capsys.readouterr()
    assert printed.err == "kpi-sample: DATABASE_URL: is required and not set\n"


def test_the_environment_option_is_applied_before_the_settings_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("APP_ENV", "development")
    seen = []

    def look(settings: PartSettings) -> int:
        seen.append(settings.app_env.value)
        return len(seen)

    assert main(PART, Plain, ["look", "--env", "staging"], commands={"look": look}) == 1
    assert main(PART, Plain, ["look", "--environment", "production"], commands={"look": look}) == 2
    assert seen == ["staging", "production"]


def test_only_a_part_with_a_database_has_migrate(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(PART, Plain, ["migrate"])
    assert "invalid choice: 'migrate'" in capsys.readouterr().err


def test_check_reports_failures_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody:quiet-pass@127.0.0.1:9/none")
    assert main(PART, WithDatabase, ["check"]) == 1
    printed = capsys.readouterr().out
    assert '"part": "sample", "ok": false' in printed
    assert '"check": "database"' in printed
    assert "quiet-pass" not in printed


@pytest.mark.parametrize("port", ["0", "65536", "99999", "http", "-1"])
def test_invalid_ports_are_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(PART, Plain, ["--port", port])
    assert "is not a port" in capsys.readouterr().err or port == "-1"


def test_a_port_in_use_is_reported_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(PART, Plain, ["--port", str(port)]) == 1
    assert capsys.readouterr().err == f"kpi-sample: cannot listen on 127.0.0.1:{port}: Address already in use\n"


def test_invalid_settings_end_an_import_with_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with pytest.raises(SystemExit, match=r"^kpi-sample: DATABASE_URL: is required and not set$"):
        build_or_exit(PART, WithDatabase.load)
