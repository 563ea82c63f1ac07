"""Both stores do the same: a file is there as a whole or not at all, and nothing leaves its place."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import boto3
import httpx
import pytest
from kpi_shared.files.bucket import BucketStore
from kpi_shared.files.folder import FolderStore
from kpi_shared.files.sniffing import sniff
from kpi_shared.files.storage import Files
from kpi_shared.files.store import FileStore, check_key
from structlog.testing import capture_logs

pytestmark = pytest.mark.anyio

KEY = f"content/products/photo/{'a' * 22}"
OTHER = f"content/products/photo/{'b' * 22}"
NOW = timedelta(seconds=-5)


async def _chunks(*chunks: bytes, error: Exception | None = None) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
    if error is not None:
        raise error


async def _list(store: FileStore, age: timedelta = NOW) -> list[str]:
    return [key async for keys in store.list_old("content", age=age) for key in keys]


async def _read(store: FileStore, key: str) -> bytes | None:
    if url := await store.sign(key, media_type="image/png", disposition="inline"):
        async with httpx.AsyncClient() as client:
            response = await client.get(url)
        return response.content if response.is_success else None
    file = await store.open(key)
    if file is None:
        return None
    with closing(file):
        return b"".join([chunk async for chunk in file])


async def test_a_file_is_stored_read_and_removed(store: FileStore) -> None:
    await store.save(KEY, _chunks(b"a" * 100_000, b"b"), media_type="image/png")
    assert await _read(store, KEY) == b"a" * 100_000 + b"b"
    assert await _list(store) == [KEY]
    await store.remove(KEY, OTHER)
    assert await _read(store, KEY) is None
    assert await _list(store) == []


async def test_a_file_that_is_open_can_be_read_after_its_removal(folder: FolderStore) -> None:
    await folder.save(KEY, _chunks(b"a" * 100_000), media_type="image/png")
    file = await folder.open(KEY)
    await folder.remove(KEY)
    assert file is not None
    with closing(file):
        assert b"".join([chunk async for chunk in file]) == b"a" * 100_000
    assert await folder.open(KEY) is None


async def test_an_upload_that_breaks_off_leaves_nothing(store: FileStore, tmp_path: Path) -> None:
    chunks = _chunks(b"a" * 9 * 1024 * 1024, error=RuntimeError("the client has left"))
    with pytest.raises(RuntimeError):
        await store.save(KEY, chunks, media_type="image/png")
    assert await _list(store) == []
    assert _files_in(tmp_path) == []


def _files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_a_file_of_several_parts_arrives_whole(bucket: BucketStore, aws: str) -> None:
    mib = b"".join(bytes([number]) * 1024 * 1024 for number in range(20))
    await bucket.save(KEY, _chunks(*(mib[at : at + 700_000] for at in range(0, len(mib), 700_000))), media_type="a/b")
    assert await _read(bucket, KEY) == mib
    client = boto3.client("s3", endpoint_url=aws)
    assert client.list_multipart_uploads(Bucket="kpi-files").get("Uploads", []) == []
    [item] = client.list_objects_v2(Bucket="kpi-files")["Contents"]
    assert item["Key"] == f"stage/one/{KEY}"


async def test_a_broken_upload_of_several_parts_is_aborted(bucket: BucketStore, aws: str) -> None:
    with pytest.raises(RuntimeError):
        await bucket.save(KEY, _chunks(b"a" * 9 * 1024 * 1024, error=RuntimeError()), media_type="a/b")
    assert boto3.client("s3", endpoint_url=aws).list_multipart_uploads(Bucket="kpi-files").get("Uploads", []) == []


async def test_young_files_are_not_listed(store: FileStore) -> None:
    await store.save(KEY, _chunks(b"a"), media_type="image/png")
    assert await _list(store, timedelta(hours=1)) == []


async def test_what_a_bucket_does_not_delete_is_not_taken_for_gone(bucket: BucketStore, aws: str) -> None:
    for key in (KEY, OTHER):
        await bucket.save(key, _chunks(b"a"), media_type="image/png")
    client = boto3.client("s3", endpoint_url=aws)
    denied = {"Effect": "Deny", "Principal": "*", "Action": "s3:DeleteObject"}
    rule = denied | {"Resource": f"arn:aws:s3:::kpi-files/stage/one/{KEY}"}
    client.put_bucket_policy(Bucket="kpi-files", Policy=json.dumps({"Version": "2012-10-17", "Statement": [rule]}))
    try:
        with capture_logs() as logs:
            assert await Files(bucket, "content").remove(KEY, OTHER) == 1
    finally:
        client.delete_bucket_policy(Bucket="kpi-files")
    assert [(line["event"], line["error"], line["files"]) for line in logs] == [
        ("files were not removed", "AccessDenied", 1)
    ]
    assert await _list(bucket) == [KEY]


async def test_what_a_folder_does_not_remove_stops_no_other_removal(folder: FolderStore, tmp_path: Path) -> None:
    await folder.save(OTHER, _chunks(b"a"), media_type="image/png")
    (tmp_path / "files" / KEY).mkdir()
    with capture_logs() as logs:
        assert await Files(folder, "content").remove(KEY, OTHER) == 1
    assert [line["error"] for line in logs] == ["Is a directory"]
    assert await _list(folder) == []


async def test_what_something_else_put_into_a_folder_is_not_listed(folder: FolderStore, tmp_path: Path) -> None:
    await folder.save(KEY, _chunks(b"a"), media_type="image/png")
    photos, drafts = tmp_path / "files/content/products/photo", tmp_path / "files/.incoming"
    for stray in (photos / ".nfs0001", photos.parent / "lost", drafts / "old", photos / f"{'c' * 22}.bak"):
        stray.write_bytes(b"a")
    for stray in (photos / ("d" * 22), drafts / "folder"):
        stray.mkdir()
    (photos / ("e" * 22)).symlink_to(tmp_path / "gone")
    assert await _list(folder) == [KEY]
    assert [path.name for path in drafts.iterdir()] == ["folder"]


async def test_a_file_that_is_removed_while_the_folder_is_listed_is_left_out(
    folder: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in (KEY, OTHER):
        await folder.save(key, _chunks(b"a"), media_type="image/png")
    (tmp_path / "files/.incoming/old").write_bytes(b"a")

    def lose(path: Path, **_: object) -> os.stat_result:
        if path.name in {OTHER[-22:], "old"}:
            path.unlink(missing_ok=True)
        return os.lstat(path)

    for name in ("stat", "lstat"):
        monkeypatch.setattr(Path, name, lose)
    assert await _list(folder) == [KEY]


async def test_what_something_else_put_into_a_bucket_is_not_listed(bucket: BucketStore, aws: str) -> None:
    await bucket.save(KEY, _chunks(b"a"), media_type="image/png")
    client = boto3.client("s3", endpoint_url=aws)
    for key in ("content/stray", f"{KEY}/deeper/than/keys", "content/products/photo/"):
        client.put_object(Bucket="kpi-files", Key=f"stage/one/{key}", Body=b"a")
    assert await _list(bucket) == [KEY]


async def test_a_signed_address_shows_the_file_as_the_row_says(bucket: BucketStore) -> None:
    await bucket.save(KEY, _chunks(b"a"), media_type="image/png")
    url = await bucket.sign(KEY, media_type="application/pdf", disposition="attachment")
    assert url is not None
    async with httpx.AsyncClient() as client:
        response = await client.get(url)
    assert response.headers["content-type"] == "application/pdf"
    assert response.headers["content-disposition"] == "attachment"


@pytest.mark.parametrize(
    "key",
    ["", "/etc/passwd", "../../../etc", f"content/products/../{'a' * 22}", KEY + "/..", KEY + "\n", KEY.upper()],
)
async def test_no_key_leaves_the_store(folder: FolderStore, key: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        check_key(key)
    with pytest.raises(ValueError, match="not a key"):
        await folder.save(key, _chunks(b"a"), media_type="a/b")
    with pytest.raises(ValueError, match="not a key"):
        await folder.open(key)


async def test_a_store_that_does_not_work_is_an_oserror(tmp_path: Path, bucket: BucketStore) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"."):
        await FolderStore(tmp_path / "file").save(KEY, _chunks(b"a"), media_type="a/b")
    missing = BucketStore("no-such-bucket", "", region="us-east-1", endpoint_url=bucket._endpoint_url)
    with pytest.raises(OSError, match="put_object"):
        await missing.save(KEY, _chunks(b"a"), media_type="a/b")


@pytest.mark.parametrize(
    ("beginning", "media_type"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "application/octet-stream"),
        (b"%PDF-1.7", "application/pdf"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "application/octet-stream"),
        (b"<!doctype html><script>", "application/octet-stream"),
        (b"", "application/octet-stream"),
        (b"\x89PN", "application/octet-stream"),
    ],
)
async def test_the_first_bytes_decide(beginning: bytes, media_type: str) -> None:
    assert sniff(beginning) == media_type
