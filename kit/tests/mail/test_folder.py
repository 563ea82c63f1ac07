"""Mails as files."""

import errno
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from kpi_kit.errors import DriverUnavailableError
from kpi_kit.mail.drivers.folder import FolderTransport
from mail_letters import letter


async def test_a_folder_gets_one_private_file_for_each_mail(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "for it"
    for _ in range(2):
        await FolderTransport(folder).send(letter())
    assert [path.name for path in folder.iterdir()] == ["20260102T030405-verify_email-7.eml"]
    path = next(folder.iterdir())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert b"Subject: A test" in path.read_bytes()


async def test_a_folder_that_cannot_be_written_is_not_a_final_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DriverUnavailableError):
        await FolderTransport(tmp_path / "file").send(letter())


async def test_a_mail_that_cannot_be_written_leaves_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(DriverUnavailableError, match="No space left"):
        await FolderTransport(tmp_path).send(letter())
    assert not [*tmp_path.iterdir()]  # noqa: ASYNC240 a test


async def test_a_file_stays_in_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "mails"
    await FolderTransport(folder).send(replace(letter(), template="../../accounts/hello world"))
    assert [path.name for path in folder.iterdir()] == ["20260102T030405-.._.._accounts_hello_world-7.eml"]
    assert [path.name for path in folder.parent.iterdir()] == ["mails"]
