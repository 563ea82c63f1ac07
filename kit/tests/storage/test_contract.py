"""All drivers and the fake do the same."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from kpi_kit.storage import AlreadyStoredError, NotStoredError, PathConflictError, Storage, StorageValueError
from opening_support import open_anew
from storage_support import MIB, chunks

pytestmark = pytest.mark.anyio

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 100


async def _list(storage: Storage, prefix: str = "", *, after: str = "", limit: int | None = None) -> list[str]:
    return [info.path async for info in storage.list(prefix, after=after, limit=limit)]


async def test_a_file_is_stored_read_and_deleted(storage: Storage) -> None:
    stored = await storage.put("invoices/2026/17.pdf", b"%PDF-1.7 and more")
    assert stored == (17, "application/pdf")
    assert await storage.get("invoices/2026/17.pdf") == b"%PDF-1.7 and more"
    assert await storage.exists("invoices/2026/17.pdf")
    assert await storage.get_size("invoices/2026/17.pdf") == 17
    await storage.delete("invoices/2026/17.pdf")
    assert not await storage.exists("invoices/2026/17.pdf")
    await storage.delete("invoices/2026/17.pdf")


async def test_a_file_can_have_the_path_of_a_folder_whose_files_are_deleted(storage: Storage) -> None:
    await storage.put("a/b/c", b"x")
    await storage.delete("a/b")
    assert await storage.get("a/b/c") == b"x"
    await storage.delete("a/b/c")
    await storage.put("a", b"y", only_if_new=True)
    assert await storage.get("a") == b"y"
    with pytest.raises(StorageValueError, match="limit"):
        await _list(storage, limit=-1)
    for age in (timedelta.max, timedelta.min):
        with pytest.raises(StorageValueError, match="age"):
            await storage.tidy(age=age)


async def test_a_folder_with_files_is_no_place_for_a_file_except_in_a_bucket(storage: Storage) -> None:
    await storage.put("a/b", b"x")
    await storage.put("c", b"y")
    if storage._name == "s3":
        # It has no folders, and to look for files before each upload would cost a request and be too early.
        await storage.put("a", b"z", only_if_new=True)
        await storage.put("a/b/c", b"z", only_if_new=True)
        return
    for is_new in (True, False):
        for use in (
            storage.put("a", b"x", only_if_new=is_new),
            storage.put("a", chunks(b"x"), only_if_new=is_new),
            storage.put("a/b/c", b"x", only_if_new=is_new),
            storage.copy("c", "a", only_if_new=is_new),
            storage.move("c", "a", only_if_new=is_new),
            storage.move("c", "c/d", only_if_new=is_new),
            storage.move("a/b", "a", only_if_new=is_new),
        ):
            with pytest.raises(PathConflictError, match="one of its folders"):
                await use
    assert await storage.delete_many(["a"]) == {}
    assert not await storage.exists("a")
    assert await _list(storage) == ["a/b", "c"]


async def test_another_file_takes_its_place(storage: Storage) -> None:
    await storage.put("a", b"one")
    before = await storage.read_metadata("a")
    await storage.put("a", chunks(b"t", b"wo!"))
    after = await storage.read_metadata("a")
    assert await storage.get("a") == b"two!"
    assert (before.size, after.size) == (3, 4)
    assert before.etag != after.etag


async def test_metadata_are_those_of_the_content(storage: Storage) -> None:
    await storage.put("a/b", PNG)
    info = await storage.read_metadata("a/b")
    assert (info.path, info.size, info.content_type) == ("a/b", len(PNG), "image/png")
    assert abs(info.modified_at - datetime.now(UTC)) < timedelta(minutes=1)
    async with await storage.open("a/b") as file:
        assert file.info == info


async def test_an_empty_file_is_a_file(storage: Storage) -> None:
    assert await storage.put("empty", b"") == (0, "application/octet-stream")
    assert await storage.put("empty2", chunks()) == (0, "application/octet-stream")
    assert await storage.get("empty") == b""
    assert (await storage.read_metadata("empty2")).content_type == "application/octet-stream"


@pytest.mark.parametrize("size", [1, 65_536, 200_000, 9 * MIB])
async def test_chunks_arrive_as_they_were_sent(storage: Storage, size: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    content = content[:size]
    sent = (content[start : start + 700_001] for start in range(0, size, 700_001))
    assert (await storage.put("large", chunks(*sent))).size == size
    async with await storage.open("large") as file:
        assert file.info.size == size
        assert b"".join([chunk async for chunk in file]) == content


async def test_the_type_is_found_in_the_first_bytes_however_they_come(storage: Storage) -> None:
    stored = await storage.put("a.html", chunks(*(bytes([byte]) for byte in PNG)))
    assert stored.content_type == "image/png"
    assert (await storage.put("a.png", b"<!doctype html><script>")).content_type == "application/octet-stream"
    assert (await storage.read_metadata("a.png")).content_type == "application/octet-stream"


async def test_what_is_not_there_is_one_error(storage: Storage) -> None:
    await storage.put("a/b", b"")
    for path in ("gone", "a", "a/b/c", "a/c"):
        with pytest.raises(NotStoredError, match="there is no file"):
            await storage.get(path)
        with pytest.raises(NotStoredError):
            await storage.open(path)
        with pytest.raises(NotStoredError):
            await storage.get_size(path)
        with pytest.raises(NotStoredError):
            await storage.copy(path, "target")
        with pytest.raises(NotStoredError):
            await storage.move(path, "target")
        assert not await storage.exists(path)
    assert await _list(storage) == ["a/b"]


async def test_only_a_new_file_is_stored_if_so_asked(storage: Storage) -> None:
    await storage.put("a", b"one", only_if_new=True)
    for data in (b"two", chunks(b"two"), chunks(b"2" * 9 * MIB)):
        with pytest.raises(AlreadyStoredError, match="'a' already"):
            await storage.put("a", data, only_if_new=True)
    assert await storage.get("a") == b"one"
    await storage.put("b", chunks(b"2" * 9 * MIB), only_if_new=True)
    assert await storage.get_size("b") == 9 * MIB


async def test_of_many_that_store_the_same_new_file_one_does(storage: Storage) -> None:
    calls = (storage.put("a", bytes([number]), only_if_new=True) for number in range(8))
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(not isinstance(result, BaseException) for result in results) == 1
    assert sum(isinstance(result, AlreadyStoredError) for result in results) == 7


async def test_files_are_copied_and_moved(storage: Storage) -> None:
    await storage.put("a", PNG)
    await storage.copy("a", "folder/b")
    await storage.move("a", "folder/c")
    assert await _list(storage) == ["folder/b", "folder/c"]
    await storage.put("folder/b", b"other")
    for act in (storage.copy, storage.move):
        with pytest.raises(AlreadyStoredError):
            await act("folder/b", "folder/c", only_if_new=True)
    assert await storage.get("folder/b") == b"other"
    await storage.move("folder/b", "folder/c")
    assert await storage.get("folder/c") == b"other"
    assert await _list(storage) == ["folder/c"]


async def test_a_file_that_is_moved_onto_itself_stays(storage: Storage) -> None:
    await storage.put("a", b"one")
    await storage.move("a", "a")
    await storage.copy("a", "a")
    for act in (storage.copy, storage.move):
        with pytest.raises(AlreadyStoredError):
            await act("a", "a", only_if_new=True)
    assert await storage.get("a") == b"one"


async def test_a_list_has_an_order_pages_and_a_folder(storage: Storage) -> None:
    paths = ["a-b", "a.b/c", "a/b-c", "a/b/c", "ab", "b/ü", "b/日本"]
    for path in reversed(paths):
        await storage.put(path, b"x")
    assert await _list(storage) == paths
    assert await _list(storage, "a") == await _list(storage, "a/") == ["a/b-c", "a/b/c"]
    assert await _list(storage, "none") == []
    for size in (1, 2, 100):
        found: list[str] = []
        while page := await _list(storage, after=found[-1] if found else "", limit=size):
            found += page
        assert found == paths
    assert await _list(storage, "a", after="a/b-c") == ["a/b/c"]
    assert await _list(storage, limit=0) == []
    [first] = [info async for info in storage.list(limit=1)]
    assert (first.size, first.content_type) == (1, None)


async def test_many_are_deleted_at_once(storage: Storage) -> None:
    for number in range(5):
        await storage.put(f"folder/{number}", b"x")
    assert await storage.delete_many([*(f"folder/{number}" for number in range(4)), "folder/none"]) == {}
    assert await _list(storage) == ["folder/4"]
    assert await storage.delete_many([]) == {}


async def test_names_of_all_scripts_and_signs_are_kept(storage: Storage) -> None:
    paths = ["a b/c+d=e&f;g'h!i$j(k)[l]{m}@n,o_p-q", "ü/ß", "日本語/文書.pdf", "עברית", "a..b", "-rf"]
    for path in paths:
        await storage.put(path, path.encode())
    assert set(await _list(storage)) == set(paths)
    for path in paths:
        assert await storage.get(path) == path.encode()


async def test_an_error_of_the_sender_leaves_what_was_there(storage: Storage) -> None:
    await storage.put("kept", b"as it was")
    for path in ("kept", "new"):
        for size in (1, 9 * MIB):
            with pytest.raises(ConnectionResetError):
                await storage.put(path, chunks(b"x" * size, b"y", error=ConnectionResetError("left")))
    assert await storage.get("kept") == b"as it was"
    assert await _list(storage) == ["kept"]


@pytest.mark.parametrize("size", [1, 9 * MIB])
async def test_an_upload_that_is_cancelled_leaves_what_was_there(storage: Storage, size: int) -> None:
    await storage.put("kept", b"as it was")
    for path in ("kept", "new"):
        has_sent, never = asyncio.Event(), asyncio.Event()

        async def send(has_sent: asyncio.Event = has_sent, never: asyncio.Event = never) -> AsyncIterator[bytes]:
            yield b"x" * 100
            yield b"x" * size
            has_sent.set()
            await never.wait()

        upload = asyncio.create_task(storage.put(path, send()))
        await has_sent.wait()
        upload.cancel()
        with pytest.raises(asyncio.CancelledError):
            await upload
    assert await storage.get("kept") == b"as it was"
    assert await _list(storage) == ["kept"]


async def test_a_public_url_is_made_of_the_path(storage: Storage) -> None:
    url = storage.make_url("a b/ü.png")
    assert url.startswith("https://files.example.com/")
    assert url.endswith("/a%20b/%C3%BC.png")


async def test_leftovers_are_tidied_and_files_stay(storage: Storage) -> None:
    await storage.put("a", b"x")
    assert await storage.tidy(age=timedelta(seconds=-5)) == 0
    assert await storage.get("a") == b"x"


async def test_it_is_opened_again_after_it_is_closed(storage: Storage) -> None:
    await open_anew(storage, lambda: storage.put("a", chunks(b"x")))
    assert await storage.get("a") == b"x"
