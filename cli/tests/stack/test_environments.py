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
