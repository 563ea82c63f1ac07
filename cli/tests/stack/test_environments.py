"""The settings that the local stack gives to each part."""

from pathlib import Path

import pytest
from kpi_cli import parts
from kpi_cli.layout import Layout
from kpi_cli.stack import environments
from kpi_cli.stack.ports import Ports

MAIL_VARIABLES = ("MAIL_URL", "MAIL_URL_FILE", "PUBLIC_URL")
PORTS = Ports({"gateway": 8123, "auth": 1, "content": 2, "postgres": 3})
AUTH = parts.get_or_raise("auth")
CONTENT = parts.get_or_raise("content")


@pytest.mark.parametrize(
    ("shell", "expected"),
    [
        ({}, {"MAIL_URL": "file:///tmp/my%20home/mails", "PUBLIC_URL": "http://127.0.0.1:8123"}),
        # An empty variable is not set, as for the parts.
        ({"MAIL_URL": ""}, {"MAIL_URL": "file:///tmp/my%20home/mails", "PUBLIC_URL": "http://127.0.0.1:8123"}),
        (
            {"MAIL_URL": "smtp://localhost:25"},
            {"MAIL_URL": "smtp://localhost:25", "PUBLIC_URL": "http://127.0.0.1:8123"},
        ),
        ({"MAIL_URL_FILE": "/secret"}, {"MAIL_URL_FILE": "/secret", "PUBLIC_URL": "http://127.0.0.1:8123"}),
        (
            {"PUBLIC_URL": "https://dev.example.com"},
            {"MAIL_URL": "file:///tmp/my%20home/mails", "PUBLIC_URL": "https://dev.example.com"},
        ),
    ],
)
def test_emails_become_files_with_links_to_the_stack_unless_the_shell_sets_otherwise(
    monkeypatch: pytest.MonkeyPatch, shell: dict[str, str], expected: dict[str, str]
) -> None:
    for name in MAIL_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in shell.items():
        monkeypatch.setenv(name, value)
    home = Path("/tmp/my home")  # noqa: S108 nothing is written there
    auth = environments.environment(Layout(checkout=home, home=home), AUTH, PORTS)
    assert {name: auth[name] for name in MAIL_VARIABLES if name in auth} == expected
    content = environments.environment(Layout(checkout=home, home=home), CONTENT, PORTS)
    assert {name: content[name] for name in MAIL_VARIABLES if name in content} == shell


def write_settings(folder: Path, text: str) -> Layout:
    config = folder / "services" / "auth" / "config"
    config.mkdir(parents=True)
    (config / ".env").write_text(text)
    return Layout(checkout=folder, home=folder / "home")


@pytest.mark.parametrize(
    ("shell", "file", "described"),
    [
        ({}, "", "{home}/mails/ (sent instead when MAIL_URL is set)"),
        (
            {"MAIL_URL": "smtp://ada:secret%40x@mail.example:587"},
            "",
            "smtp://mail.example:587 (MAIL_URL in the shell)",
        ),
        ({"MAIL_URL": "smtps://mail.example"}, "MAIL_URL=smtp://other", "smtps://mail.example (MAIL_URL in the shell)"),
        ({"MAIL_URL": "file:///var/my%20mails"}, "", "/var/my mails/ (MAIL_URL in the shell)"),
        ({"MAIL_URL_FILE": "/nonexistent"}, "", "/nonexistent (MAIL_URL_FILE in the shell)"),
        ({}, "MAIL_URL=smtp://mail.example # ours", "smtp://mail.example ({config})"),
        ({"MAIL_URL": ""}, "MAIL_URL=", "{home}/mails/ (sent instead when MAIL_URL is set)"),
    ],
)
def test_the_card_shows_where_auth_sends_mails_without_a_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shell: dict[str, str], file: str, described: str
) -> None:
    layout = write_settings(tmp_path, file)
    for name in MAIL_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in shell.items():
        monkeypatch.setenv(name, value)
    config = tmp_path / "services" / "auth" / "config" / ".env"
    assert environments.describe_mail(layout) == described.format(home=layout.home, config=config)


def test_a_mail_server_in_auths_own_settings_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in MAIL_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    layout = write_settings(tmp_path, "MAIL_URL=smtp://mail.example\n")
    assert "MAIL_URL" not in environments.environment(layout, AUTH, PORTS)


def test_uploaded_files_are_in_the_stacks_own_folder_unless_the_shell_or_the_service_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("FILES_URL", raising=False)
    layout = write_settings(tmp_path, "FILES_URL=s3://bucket\n")
    assert environments.environment(layout, CONTENT, PORTS)["FILES_URL"] == (tmp_path / "home" / "files").as_uri()
    assert "FILES_URL" not in environments.environment(layout, AUTH, PORTS)
    assert "FILES_URL" not in environments.environment(layout, parts.get_or_raise("gateway"), PORTS)
    monkeypatch.setenv("FILES_URL", "s3://mine")
    assert environments.environment(layout, CONTENT, PORTS)["FILES_URL"] == "s3://mine"


def test_settings_that_the_stack_does_not_make_itself_reach_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SUPABASE_URL", "DATABASE_ECHO", "CORS_ORIGINS", "LOG_LEVEL"):
        monkeypatch.setenv(name, "from the shell")
    layout = Layout(checkout=Path("/nonexistent"), home=Path("/nonexistent"))
    for part in parts.PARTS:
        found = environments.environment(layout, part, PORTS)
        assert {found[name] for name in ("SUPABASE_URL", "DATABASE_ECHO", "CORS_ORIGINS", "LOG_LEVEL")} == {
            "from the shell"
        }


def test_content_follows_auth_on_its_internal_port_with_a_key_of_its_own() -> None:
    layout = Layout(checkout=Path("/nonexistent"), home=Path("/nonexistent"))
    ports = Ports({**PORTS.by_name, "auth_internal": 4})
    auth, content, gateway = (environments.own_settings(layout, part, ports) for part in (AUTH, CONTENT, parts.GATEWAY))
    assert content["AUTH_INTERNAL_URL"] == gateway["AUTH_INTERNAL_URL"] == "http://127.0.0.1:4"
    assert content["FEED_KEY_FILE"] == auth["FEED_KEY_FILE"] == "/nonexistent/secrets/feed_key"
    assert gateway["INTERNAL_KEY_FILE"] == auth["INTERNAL_KEY_FILE"] == "/nonexistent/secrets/internal_key"
    assert auth["LISTEN_DATABASE_URL_FILE"] == auth["DATABASE_URL_FILE"]
    assert content["LISTEN_DATABASE_URL_FILE"] == content["DATABASE_URL_FILE"]
    # Each of the two has its own key only.
    assert "INTERNAL_KEY_FILE" not in content
    assert "FEED_KEY_FILE" not in gateway
    # The last start of an older command chose no such port.
    assert "AUTH_INTERNAL_URL" not in environments.own_settings(layout, CONTENT, PORTS)
