import os
import stat
import subprocess
import sys
from pathlib import Path

import kpi_cli
import pytest
from kpi_cli.parts import WITH_DATABASE
from kpi_cli.stack import vault

NAMES = {
    *("auth_secret_key", "internal_key", "feed_key"),
    *("postgres_password", *(f"{part.name}_database_password" for part in WITH_DATABASE)),
}


def run(directory: Path, *options: str) -> str:
    # -E and -S: as in a bare image, where no other package is installed.
    command = [sys.executable, "-E", "-S", "-m", "kpi_cli.stack.vault", str(directory), *options]
    folder = Path(kpi_cli.__file__).parents[1]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def contents(directory: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in directory.iterdir()}


def test_program_makes_what_is_missing_once_and_prints_no_value(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    output = run(folder)
    made = contents(folder)
    again = run(folder)
    assert set(made) == {*NAMES, *vault.PREVIOUS_KEYS}
    assert contents(folder) == made
    assert "all secrets exist already" in again
    assert [made.pop(name).strip() for name in vault.PREVIOUS_KEYS] == [""] * len(vault.PREVIOUS_KEYS)
    assert not any(value.strip() in output for value in made.values())
    assert len(made["auth_secret_key"].strip()) == 64
    assert len(set(made.values())) == len(NAMES)


def test_files_are_private(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    vault.ensure(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}


def test_empty_file_and_draft_of_an_interrupted_run_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "auth_secret_key").touch()
    (tmp_path / ".auth_secret_key.draft").write_text("abc")
    assert "auth_secret_key" in vault.ensure(tmp_path)
    assert set(contents(tmp_path)) == {*NAMES, *vault.PREVIOUS_KEYS}
    assert len(vault.read(tmp_path / "auth_secret_key")) == 64


def test_full_disk_leaves_no_half_of_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        vault.ensure(tmp_path)
    assert contents(tmp_path) == {}


def test_database_urls_hold_the_services_own_password(tmp_path: Path) -> None:
    run(tmp_path, "--database-host", "database:5432")
    password = vault.read(tmp_path / "auth_database_password")
    assert vault.read(tmp_path / "auth_database_url") == f"postgresql://kpi_auth:{password}@database:5432/kpi_auth"
    assert password not in vault.read(tmp_path / "content_database_url")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can change the owner of files")
def test_files_are_given_to_the_users_of_containers(tmp_path: Path) -> None:
    for _ in range(2):
        run(tmp_path, "--database-host", "database:5432", "--containers")
    found = {file.name: (file.stat(), stat.S_IMODE(file.stat().st_mode)) for file in tmp_path.iterdir()}
    readers = {name: (status.st_uid, status.st_gid) for name, (status, mode) in found.items() if mode == 0o440}
    owners = {name: status.st_uid for name, (status, mode) in found.items() if mode == 0o400}
    assert readers == {"internal_key": (10001, 10003), "feed_key": (10001, 10100)}
    own = {f"{part.name}_database_url": part.uid for part in WITH_DATABASE}
    assert owners == {"auth_secret_key": 10001, **dict.fromkeys(vault.PREVIOUS_KEYS, 10001), **own}
    # No container but the database's own, in which root reads them, has these.
    assert {name for name, (_, mode) in found.items() if mode == 0o600} == {
        name for name in NAMES if name.endswith("_password")
    }
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o711
