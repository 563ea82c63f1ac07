"""What is refused before the first process starts, each with one sentence and a mending command."""

import shutil
from pathlib import Path

import pytest
from kpi_cli import libsodium, parts, postgres
from kpi_cli.errors import FailureError
from kpi_cli.layout import Layout
from kpi_cli.ports import Ports


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(checkout=tmp_path, home=tmp_path)


def test_missing_libsodium_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libsodium, "find_library", lambda _: None)
    monkeypatch.setattr(libsodium.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(libsodium.shutil, "which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(FailureError) as caught:
        libsodium.ensure()
    assert caught.value.lines() == [
        "kpi: libsodium: the library is not on this machine, and tokens need it",
        "  mend it: sudo apt-get install libsodium23",
    ]


def test_root_installs_libsodium_with_fresh_lists_when_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def error_of(command: list[str]) -> str:
        ran.append(command[1])
        return "E: Unable to locate package" if ran == ["install"] else ""

    monkeypatch.setattr(libsodium, "find_library", lambda _: "libsodium.so.23" if ran else None)
    monkeypatch.setattr(libsodium.os, "geteuid", lambda: 0)
    monkeypatch.setattr(libsodium.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(libsodium, "_error_of", error_of)
    libsodium.ensure()
    assert ran == ["install", "update", "install"]


def test_apt_get_that_fails_is_named_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = {"update": "E: Failed to fetch the lists", "install": "E: Unable to locate package"}
    monkeypatch.setattr(libsodium, "find_library", lambda _: None)
    monkeypatch.setattr(libsodium.os, "geteuid", lambda: 0)
    monkeypatch.setattr(libsodium.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(libsodium, "_error_of", lambda command: errors[command[1]])
    with pytest.raises(FailureError, match="apt-get could not install it: E: Failed to fetch the lists"):
        libsodium.ensure()


def test_nearly_full_disk_is_refused(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(layout.home)._replace(free=12 * 2**20)
    monkeypatch.setattr(postgres.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(FailureError) as caught:
        postgres.check_data(layout)
    assert caught.value.part == "disk"
    assert "12 MB are free there, and 300 MB are needed" in caught.value.sentence


def test_disk_that_fills_while_postgresql_runs_is_named_as_such(layout: Layout) -> None:
    log = ["LOG: starting", "PANIC:  could not write to file: No space left on device"]
    assert postgres.failed(layout, "it stopped", log).part == "disk"


def test_prefix_folders_are_opened_for_passing_through_only(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    postgres._open_the_way(folder / "data")
    assert folder.stat().st_mode & 0o777 == 0o701


MAIL_VARIABLES = ("MAIL_URL", "MAIL_URL_FILE", "PUBLIC_URL")
PORTS = Ports(gateway=8123, auth=1, content=2, postgres=3)


@pytest.mark.parametrize(
    ("shell", "expected"),
    [
        ({}, {"MAIL_URL": "file:///tmp/my%20home/mails", "PUBLIC_URL": "http://127.0.0.1:8123"}),
        # An empty variable says nothing, as for the parts.
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
def test_mails_become_files_whose_links_lead_to_the_stack_unless_the_shell_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, shell: dict[str, str], expected: dict[str, str]
) -> None:
    for name in MAIL_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in shell.items():
        monkeypatch.setenv(name, value)
    home = Path("/tmp/my home")  # noqa: S108 nothing is written there
    auth = parts.environment(Layout(checkout=home, home=home), "auth", PORTS)
    assert {name: auth[name] for name in MAIL_VARIABLES if name in auth} == expected
    content = parts.environment(Layout(checkout=home, home=home), "content", PORTS)
    assert {name: content[name] for name in MAIL_VARIABLES if name in content} == shell
