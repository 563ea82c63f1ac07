"""A path can never leave its root, whatever the driver."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from kpi_kit.storage import NotStoredError, PathError, Storage, StorageError, check_path
from storage_hostile_paths import HOSTILE
from storage_support import chunks

pytestmark = pytest.mark.anyio

SECRET = b"a file of the system"


def test_the_corpus_is_large_and_each_text_is_in_it_once() -> None:
    assert len(HOSTILE) == len(set(HOSTILE)) >= 50


@pytest.mark.parametrize("path", HOSTILE, ids=ascii)
def test_a_hostile_path_is_refused_and_not_quoted(path: str) -> None:
    with pytest.raises(PathError) as found:
        check_path(path)
    assert "outside" not in str(found.value)
    assert "\0" not in str(found.value)


@pytest.mark.parametrize("path", [None, 1, b"a", ["a"], Path("a")])
def test_only_a_text_is_a_path(path: Any) -> None:
    with pytest.raises(PathError, match="text"):
        check_path(path)


async def test_no_driver_takes_a_hostile_path(storage: Storage, tmp_path: Path) -> None:
    await storage.put("known", b"x")
    minute = timedelta(minutes=1)
    before = _snapshot(tmp_path)
    for path in HOSTILE:
        for call in (
            storage.put(path, b"x"),
            storage.put(path, chunks(b"x")),
            storage.get(path),
            storage.open(path),
            storage.read_metadata(path),
            storage.exists(path),
            storage.delete(path),
            storage.delete_many(["known", path]),
            storage.copy("known", path),
            storage.copy(path, "copy"),
            storage.move("known", path),
            storage.move(path, "moved"),
            storage.sign_download(path, expires_in=minute),
            storage.sign_upload(path, size=1, content_type="a/b"),
        ):
            with pytest.raises(PathError):
                await call
        with pytest.raises(PathError):
            storage.make_url(path)
        if path not in {"", "a/"}:
            with pytest.raises(PathError):
                [info async for info in storage.list(path)]
        if path:
            with pytest.raises(PathError):
                [info async for info in storage.list(after=path)]
    assert [info.path async for info in storage.list()] == ["known"]
    assert _snapshot(tmp_path) == before


def _snapshot(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path.relative_to(folder)), path.lstat().st_size) for path in folder.rglob("*"))


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_bytes(SECRET)
    return folder


async def test_links_inside_of_a_folder_lead_nowhere(local: Storage, root: Path, outside: Path) -> None:
    await local.put("known", b"x")
    (root / "link").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret")
    (root / "relative").symlink_to("../outside/secret")
    (root / "inner").mkdir()
    (root / "inner/link").symlink_to(outside, target_is_directory=True)
    (root / "dangling").symlink_to(outside / "new")
    (root / "loop").symlink_to("loop")
    before = _snapshot(outside)
    for path in ("link/secret", "file", "relative", "inner/link/secret", "dangling", "loop", "loop/a"):
        for act in (local.get, local.open, local.read_metadata, local.get_size):
            with pytest.raises(NotStoredError):
                await act(path)
        for change in (local.copy, local.move):
            with pytest.raises(NotStoredError):
                await change(path, "target")
        assert not await local.exists(path)
    for path in ("link/secret", "link/new", "inner/link/new", "loop/new"):
        for data in (b"x", chunks(b"x")):
            with pytest.raises(StorageError):
                await local.put(path, data)
        with pytest.raises(StorageError):
            await local.copy("known", path)
        with pytest.raises(StorageError):
            await local.move("known", path)
        await local.delete(path)
    assert [info.path async for info in local.list()] == ["known"]
    assert [info.path async for info in local.list("link")] == []
    assert _snapshot(outside) == before


async def test_a_link_in_the_place_of_a_file_is_replaced_and_not_followed(
    local: Storage, root: Path, outside: Path
) -> None:
    await local.put("known", b"x")
    (root / "file").symlink_to(outside / "secret")
    await local.put("file", b"new")
    assert not (root / "file").is_symlink()
    (root / "file2").symlink_to(outside / "secret")
    await local.delete("file2")
    assert not os.path.lexists(root / "file2")
    assert (outside / "secret").read_bytes() == SECRET


async def test_the_folder_of_drafts_is_no_link_out(local: Storage, root: Path, outside: Path) -> None:
    root.mkdir()
    (root / ".incoming").symlink_to(outside)
    with pytest.raises(StorageError):
        await local.put("a", b"x")
    assert _snapshot(outside) == [("secret", len(SECRET))]


async def test_a_pipe_makes_no_reader_wait(local: Storage, root: Path) -> None:
    root.mkdir()
    os.mkfifo(root / "pipe")
    with pytest.raises(NotStoredError):
        await local.get("pipe")


async def test_what_has_no_name_of_a_path_is_not_listed(local: Storage, root: Path) -> None:
    await local.put("known", b"x")
    for name in (b".hidden", b"a:b", b"a%2fb", b"new\nline", b"not-utf8-\xff"):
        (Path(os.fsdecode(os.fsencode(root) + b"/" + name))).write_bytes(b"x")
    assert [info.path async for info in local.list()] == ["known"]


async def test_the_root_may_be_a_link_of_the_operator(root: Path, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    root.symlink_to(tmp_path / "volume")
    async with Storage.from_url(f"file://{root}") as storage:
        await storage.put("a", b"x")
        assert (tmp_path / "volume/a").read_bytes() == b"x"
