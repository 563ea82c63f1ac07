"""What happens when libsodium is missing: as root it is installed, otherwise one sentence names the command."""

import pytest
from kpi_cli.errors import FailureError
from kpi_cli.stack import libsodium


def test_missing_libsodium_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libsodium, "find_library", lambda _: None)
    monkeypatch.setattr(libsodium.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(libsodium.shutil, "which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(FailureError) as caught:
        libsodium.ensure()
    assert caught.value.lines() == [
        "kpi: libsodium: the library is not installed, and tokens need it",
        "  Fix: sudo apt-get install libsodium23",
    ]


def test_root_installs_libsodium_after_an_update_of_empty_package_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def run(command: list[str]) -> str:
        ran.append(command[1])
        return "E: Unable to locate package" if ran == ["install"] else ""

    monkeypatch.setattr(libsodium, "find_library", lambda _: "libsodium.so.23" if ran else None)
    monkeypatch.setattr(libsodium.os, "geteuid", lambda: 0)
    monkeypatch.setattr(libsodium.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(libsodium, "_run", run)
    libsodium.ensure()
    assert ran == ["install", "update", "install"]


def test_apt_get_that_fails_is_named_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = {"update": "E: Failed to fetch the lists", "install": "E: Unable to locate package"}
    monkeypatch.setattr(libsodium, "find_library", lambda _: None)
    monkeypatch.setattr(libsodium.os, "geteuid", lambda: 0)
    monkeypatch.setattr(libsodium.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(libsodium, "_run", lambda command: errors[command[1]])
    with pytest.raises(FailureError, match="apt-get could not install it: E: Failed to fetch the lists"):
        libsodium.ensure()
