"""What is refused before the first process starts, each with one sentence and a mending command."""

import shutil
from pathlib import Path

import pytest
from kpi_cli import libsodium, postgres
from kpi_cli.errors import FailureError
from kpi_cli.layout import Layout


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
