"""What fields need of a storage, in a folder and in a bucket. The storage itself is tested in the kit."""

import errno
import json
import os
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import boto3
import httpx
import pytest
from files_support import Settings
from kpi_kit.storage import Storage, StorageUnavailableError
from kpi_shared.files.storage import Files, create_storage
from structlog.testing import capture_logs

pytestmark = pytest.mark.anyio

KEY = f"sample/products/photo/{'a' * 22}"
OTHER = f"sample/products/photo/{'b' * 22}"
BUCKET = "kpi-files"
NOW = timedelta(seconds=-5)


async def _chunks(*chunks: bytes, error: Exception | None = None) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk
    if error is not None:
        raise error


async def _list(files: Files, age: timedelta = NOW) -> list[str]:
    return [key async for keys in files.list_old(age=age) for key in keys]


async def _read(files: Files, key: str) -> bytes | None:
    if url := await files.sign(key, media_type="image/png", disposition="inline"):
        async with httpx.AsyncClient() as client:
            response = await client.get(url)
        return response.content if response.is_success else None
    file = await files.open(key)
    if file is None:
        return None
    async with file:
        return b"".join([chunk async for chunk in file])


async def test_a_file_is_stored_read_and_removed(files: Files) -> None:
    await files.storage.put(KEY, _chunks(b"a" * 100_000, b"b"))
    assert await _read(files, KEY) == b"a" * 100_000 + b"b"
    assert await _list(files) == [KEY]
    assert await files.remove(KEY, OTHER) == 2
    assert await _read(files, KEY) is None
    assert await _list(files) == []


async def test_an_upload_that_breaks_off_leaves_nothing(files: Files, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        await files.storage.put(KEY, _chunks(b"a" * 9 * 1024 * 1024, error=RuntimeError("the client has left")))
    assert await _list(files) == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_young_files_are_not_listed(files: Files) -> None:
    await files.storage.put(KEY, b"a")
    assert await _list(files, timedelta(hours=1)) == []


async def test_a_list_is_given_a_page_at_a_time(folder: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kpi_shared.files.storage._PAGE", 2)
    files = Files(folder, "sample")
    for letter in "abc":
        await folder.put(files.key_of("products", "photo", letter * 22), b"a")
    assert [len(keys) async for keys in files.list_old(age=NOW)] == [2, 1]


async def test_what_something_else_has_put_there_is_not_listed(files: Files) -> None:
    await files.storage.put(KEY, b"a")
    for stray in ("sample/stray", "sample/products/photo/short", f"{KEY}.bak", f"other/products/photo/{'a' * 22}"):
        await files.storage.put(stray, b"a")
    assert await _list(files) == [KEY]


async def test_what_a_bucket_does_not_delete_is_not_taken_for_gone(bucket: Storage, aws: str) -> None:
    for key in (KEY, OTHER):
        await bucket.put(key, b"a")
    client = boto3.client("s3", endpoint_url=aws)
    denied = {"Effect": "Deny", "Principal": "*", "Action": "s3:DeleteObject"}
    rule = denied | {"Resource": f"arn:aws:s3:::{BUCKET}/stage/one/{KEY}"}
    client.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps({"Version": "2012-10-17", "Statement": [rule]}))
    files = Files(bucket, "sample")
    try:
        with capture_logs() as logs:
            assert await files.remove(KEY, OTHER) == 1
    finally:
        client.delete_bucket_policy(Bucket=BUCKET)
    assert [(line["event"], line["error"], line["files"]) for line in logs] == [
        ("files were not removed", "AccessDenied", 1)
    ]
    assert await _list(files) == [KEY]


async def test_what_a_folder_does_not_remove_stops_no_other_removal(
    folder: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in (KEY, OTHER):
        await folder.put(key, b"a")
    unlink = os.unlink

    def refuse(name: str, **more: Any) -> None:
        if KEY.endswith(name):
            raise PermissionError(errno.EPERM, "Operation not permitted")
        unlink(name, **more)

    monkeypatch.setattr(os, "unlink", refuse)
    with capture_logs() as logs:
        assert await Files(folder, "sample").remove(KEY, OTHER) == 1
    assert [line["error"] for line in logs] == ["Operation not permitted"]
    assert [await folder.exists(key) for key in (KEY, OTHER)] == [True, False]


async def test_a_removal_that_fails_is_left_to_housekeeping(folder: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_keys: object) -> None:
        raise StorageUnavailableError("SlowDown")

    monkeypatch.setattr(folder, "delete_many", fail)
    with capture_logs() as logs:
        await Files(folder, "sample").forget(KEY)
    assert [(line["event"], line["files"]) for line in logs] == [("files were not removed", 1)]


async def test_a_signed_address_shows_the_file_as_the_row_says(bucket: Storage) -> None:
    await bucket.put(KEY, b"a")
    url = await Files(bucket, "sample").sign(KEY, media_type="application/pdf", disposition="attachment")
    assert url is not None
    async with httpx.AsyncClient() as client:
        response = await client.get(url)
    assert response.headers["content-type"] == "application/pdf"
    assert response.headers["content-disposition"] == "attachment"


async def test_the_settings_name_the_bucket_its_region_and_its_server(settings: Settings, aws: str) -> None:
    changed = settings.model_copy(
        update={"files_url": f"s3://{BUCKET}/stage/two", "files_endpoint_url": aws, "aws_region": "us-east-1"}
    )
    seen: list[tuple[str, str, str]] = []

    class Recorder:
        def observe(self, *call: str) -> AbstractContextManager[object]:
            seen.append(cast("tuple[str, str, str]", call))
            return nullcontext()

    storage = create_storage(changed, Recorder())
    assert storage is not None
    async with storage:
        await storage.put(KEY, b"a")
        assert aws in await storage.sign_download(KEY)
        assert f"/{BUCKET}/stage/two/{KEY}" in await storage.sign_download(KEY)
        await storage.delete(KEY)
    assert seen[0] == ("storage", "put", "s3")
    assert create_storage(settings, Recorder()) is None
