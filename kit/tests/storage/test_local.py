"""What only a folder of this machine does."""

import asyncio
import errno
import os
import stat
import subprocess
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from kpi_kit.storage import (
    CannotSignError,
    Storage,
    StorageRefusedError,
    StorageUnavailableError,
)
from storage_support import MIB, chunks

pytestmark = pytest.mark.anyio


def _files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


async def test_only_this_user_can_read_files_and_folders(local: Storage, root: Path) -> None:
    await local.put("a/b/c", b"x")
    await local.put("a/b/d", chunks(b"x"))
    await local.copy("a/b/c", "a/e/f")
    modes = {str(path.relative_to(root)): stat.S_IMODE(path.stat().st_mode) for path in root.rglob("*")}
    assert {modes[name] for name in ("a", "a/b", "a/e", ".incoming")} == {0o700}
    assert {modes[name] for name in ("a/b/c", "a/b/d", "a/e/f")} == {0o600}
    assert stat.S_IMODE(root.stat().st_mode) == 0o700


@pytest.mark.parametrize("is_stream", [False, True])
async def test_a_file_and_its_folder_are_on_the_disk_before_put_returns(
    local: Storage, root: Path, monkeypatch: pytest.MonkeyPatch, is_stream: bool
) -> None:
    root.mkdir()
    synced: list[int] = []
    sync = os.fsync

    def record(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    await local.put("new/folder/file", chunks(b"x") if is_stream else b"x")
    folders = [root, root / "new", root / "new/folder", root / "new/folder/file"]
    assert {path.stat().st_ino for path in folders} <= set(synced)
    # The file itself before its folder has its name.
    assert synced.index((root / "new/folder/file").stat().st_ino) < synced.index((root / "new/folder").stat().st_ino)


@pytest.mark.parametrize("error", [None, RuntimeError()])
async def test_an_upload_that_ends_early_leaves_no_draft(local: Storage, root: Path, error: Exception | None) -> None:
    has_sent = asyncio.Event()

    async def send() -> AsyncIterator[bytes]:
        yield b"x" * MIB
        yield b"x"
        has_sent.set()
        if error is not None:
            raise error
        await asyncio.Event().wait()

    upload = asyncio.create_task(local.put("a", send()))
    await has_sent.wait()
    if error is None:
        assert len(_files_in(root / ".incoming")) == 1
        upload.cancel()
    await asyncio.wait({upload})
    assert upload.cancelled() or upload.exception() is error
    assert _files_in(root) == []


async def test_a_cancelled_put_of_bytes_is_done_or_not_at_all(local: Storage, root: Path) -> None:
    await local.put("a", b"before")
    for turns in range(6):
        upload = asyncio.create_task(local.put("a", b"x" * MIB))
        for _ in range(turns):
            await asyncio.sleep(0)
        upload.cancel()
        await asyncio.wait({upload})
        assert await local.get("a") in {b"before", b"x" * MIB}
        assert _files_in(root / ".incoming") == []


async def test_old_drafts_are_tidied(local: Storage, root: Path) -> None:
    await local.put("a", b"x")
    for name, age in (("old", 7200), ("young", 60)):
        (root / ".incoming" / name).write_bytes(b"x")
        os.utime(root / ".incoming" / name, (time.time() - age,) * 2)
    (root / ".incoming/folder").mkdir()
    assert await local.tidy(age=timedelta(hours=1)) == 1
    assert _files_in(root) == [".incoming/young", "a"]
    assert await local.tidy(age=timedelta(hours=1)) == 0


async def test_nothing_is_made_before_the_first_file(local: Storage, root: Path) -> None:
    assert not await local.exists("a")
    assert [info async for info in local.list()] == []
    assert await local.tidy() == 0
    await local.delete("a")
    assert not root.exists()


async def test_a_file_that_is_open_stays_readable(local: Storage) -> None:
    await local.put("a", b"a" * 200_000)
    async with await local.open("a") as file:
        await local.put("a", b"other")
        await local.delete("a")
        assert b"".join([chunk async for chunk in file]) == b"a" * 200_000


async def test_an_open_file_is_closed_after_its_end_and_before(local: Storage) -> None:
    await local.put("a", b"a" * 200_000)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        await local.get("a")
        await local.read_metadata("a")
        file = await local.open("a")
        async for _chunk in file:
            break
        file.close()
        file.close()
        assert file.is_closed
        [info.path async for info in local.list(limit=1)]
    assert len(list(Path("/proc/self/fd").iterdir())) == before


async def test_a_cancelled_open_leaves_no_file_open(local: Storage) -> None:
    await local.put("a", b"x")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for turns in range(4):
        opening = asyncio.create_task(local.open("a"))
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait({opening})
        if not opening.cancelled():
            opening.result().close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(
    ("code", "kind"),
    [(errno.ENOSPC, StorageUnavailableError), (errno.EIO, StorageUnavailableError), (errno.EROFS, StorageRefusedError)],
)
async def test_a_disk_that_does_not_work_is_a_typed_error_and_later_it_works(
    local: Storage, root: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[Exception]
) -> None:
    await local.put("a", b"before")

    def fail(_descriptor: int) -> None:
        raise OSError(code, os.strerror(code), str(root))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(kind) as found:
            await local.put("a", b"after")
    assert os.strerror(code) in str(found.value)
    assert str(root) not in str(found.value)
    assert found.value.__cause__ is None
    assert await local.get("a") == b"before"
    assert _files_in(root) == ["a"]
    await local.put("a", b"after")
    assert await local.get("a") == b"after"


async def test_folders_deeper_than_a_path_are_not_listed(local: Storage, root: Path) -> None:
    deepest = "/".join("d" * 31)
    await local.put(f"{deepest}/a", b"x")
    folder = os.open(root / deepest, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=folder)
        inner = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    assert [info.path async for info in local.list()] == [f"{deepest}/a"]
    with pytest.raises(StorageRefusedError):
        await local.put("d", b"x")
    # pytest cannot remove it.
    subprocess.run(["rm", "-rf", root / "d"], check=True)  # noqa: ASYNC221 a test


async def test_a_root_that_is_no_folder_is_refused(root: Path) -> None:
    root.write_bytes(b"")
    async with Storage.from_url(f"file://{root}") as storage:
        for call in (storage.put("a", b"x"), storage.get("a"), storage.exists("a"), anext(storage.list())):
            with pytest.raises(StorageRefusedError, match="Not a directory"):
                await call


async def test_it_signs_no_urls_and_says_what_to_do(local: Storage, memory: Storage) -> None:
    for storage in (local, memory):
        with pytest.raises(CannotSignError, match="s3://"):
            await storage.sign_download("a")
        with pytest.raises(CannotSignError, match="pass the file on"):
            await storage.sign_upload("a", size=1, content_type="image/png")
