"""What only a bucket does, and what happens when its server is out of order."""

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import botocore.endpoint
import httpx
import pytest
from kpi_kit.storage import (
    Storage,
    StorageError,
    StorageRefusedError,
    StorageUnavailableError,
    StorageValueError,
)
from kpi_kit.storage.drivers import s3 as s3_driver
from storage_support import BUCKET, MIB, bucket_url, chunks, run_failing_server

pytestmark = pytest.mark.anyio


@pytest.fixture
def client(aws: str) -> Any:
    return boto3.client("s3", endpoint_url=aws)


def _uploads(client: Any, prefix: str) -> list[str]:
    uploads = client.list_multipart_uploads(Bucket=BUCKET, Prefix=prefix).get("Uploads", [])
    return [upload["Key"] for upload in uploads]


async def test_a_key_has_the_prefix_and_the_type_that_was_found(s3: Storage, prefix: str, client: Any) -> None:
    await s3.put("a", b"\x89PNG\r\n\x1a\n")
    await s3.put("b", chunks(b"GIF89a", b"x" * 9 * MIB))
    for name, content_type in (("a", "image/png"), ("b", "image/gif")):
        assert client.head_object(Bucket=BUCKET, Key=f"{prefix}/{name}")["ContentType"] == content_type
    assert _uploads(client, prefix) == []


async def test_the_type_is_not_the_one_that_a_client_has_chosen(s3: Storage, prefix: str, client: Any) -> None:
    client.put_object(Bucket=BUCKET, Key=f"{prefix}/a", Body=b"<script>", ContentType="image/png")
    assert (await s3.read_metadata("a")).content_type == "application/octet-stream"


async def test_other_prefixes_are_not_seen(s3: Storage, prefix: str, client: Any) -> None:
    for key in (f"{prefix}-other/a", f"{prefix}/folder/", f"{prefix}/a%2fb", f"{prefix}/../a", f"{prefix}/a//b"):
        client.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    await s3.put("a", b"x")
    assert [info.path async for info in s3.list()] == ["a"]


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_an_upload_that_ends_early_leaves_no_parts(
    s3: Storage, prefix: str, client: Any, is_cancelled: bool
) -> None:
    has_sent = asyncio.Event()

    async def send() -> AsyncIterator[bytes]:
        for _ in range(2):
            yield b"x" * 9 * MIB
        has_sent.set()
        if not is_cancelled:
            raise RuntimeError
        await asyncio.Event().wait()

    upload = asyncio.create_task(s3.put("a", send()))
    await has_sent.wait()
    if is_cancelled:
        assert _uploads(client, prefix) == [f"{prefix}/a"]
        upload.cancel()
    await asyncio.wait({upload})
    assert upload.cancelled() if is_cancelled else isinstance(upload.exception(), RuntimeError)
    assert _uploads(client, prefix) == []
    assert not await s3.exists("a")


async def test_an_upload_that_is_cancelled_while_it_begins_leaves_no_parts(
    s3: Storage, prefix: str, client: Any
) -> None:
    async def send() -> AsyncIterator[bytes]:
        yield b"x" * 9 * MIB
        asyncio.get_running_loop().call_soon(upload.cancel)
        yield b"x" * 9 * MIB

    upload = asyncio.create_task(s3.put("a", send()))
    await asyncio.wait({upload})
    assert upload.cancelled()
    assert _uploads(client, prefix) == []


async def test_uploads_of_processes_that_have_ended_are_tidied(s3: Storage, prefix: str, client: Any) -> None:
    client.create_multipart_upload(Bucket=BUCKET, Key=f"{prefix}/a")
    client.create_multipart_upload(Bucket=BUCKET, Key=f"{prefix}-other/a")
    # For moto, each upload began in 2010.
    assert await s3.tidy(age=timedelta(days=365 * 100)) == 0
    assert await s3.tidy() == 1
    assert _uploads(client, prefix) == [f"{prefix}-other/a"]


async def test_a_signed_download_says_what_the_response_has(s3: Storage) -> None:
    await s3.put("a b/ü", b"x")
    url = await s3.sign_download("a b/ü", content_type="application/pdf", disposition='attachment; filename="ü.pdf"')
    async with httpx.AsyncClient() as client:
        response = await client.get(url)
    assert (response.status_code, response.content) == (200, b"x")
    assert response.headers["content-type"] == "application/pdf"
    assert "attachment" in response.headers["content-disposition"]


async def test_a_signed_upload_is_stored(s3: Storage) -> None:
    url = await s3.sign_upload("up", size=3, content_type="image/png")
    # A request with another size or type has another signature, which S3 refuses (moto does not look).
    assert "X-Amz-SignedHeaders=content-length%3Bcontent-type%3Bhost" in url
    async with httpx.AsyncClient() as client:
        assert (await client.put(url, content=b"abc", headers={"Content-Type": "image/png"})).status_code == 200
    assert await s3.get("up") == b"abc"


async def test_a_signature_has_bounds(s3: Storage) -> None:
    for expires_in in (timedelta(0), timedelta(days=8)):
        with pytest.raises(StorageValueError, match="seven days"):
            await s3.sign_download("a", expires_in=expires_in)
    with pytest.raises(StorageValueError, match="control character"):
        await s3.sign_download("a", disposition="inline\r\nX: y")
    with pytest.raises(StorageValueError, match="size"):
        await s3.sign_upload("a", size=-1, content_type="image/png")


async def test_what_a_bucket_does_not_delete_is_returned(s3: Storage, prefix: str, client: Any) -> None:
    for path in ("kept", "gone"):
        await s3.put(path, b"x")
    denied = {"Effect": "Deny", "Principal": "*", "Action": "s3:DeleteObject"}
    rule = denied | {"Resource": f"arn:aws:s3:::{BUCKET}/{prefix}/kept"}
    client.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps({"Version": "2012-10-17", "Statement": [rule]}))
    try:
        failed = await s3.delete_many(["kept", "gone"])
        with pytest.raises(StorageRefusedError, match="AccessDenied"):
            await s3.delete("kept")
    finally:
        client.delete_bucket_policy(Bucket=BUCKET)
    assert {path: error.reason for path, error in failed.items()} == {"kept": "AccessDenied"}
    assert [info.path async for info in s3.list()] == ["kept"]


async def test_a_cancelled_open_gives_its_connection_back(s3: Storage) -> None:
    await s3.put("a", b"x" * MIB)
    driver: Any = s3._driver
    open_blocking, closed = driver._open, list[object]()
    loop, is_open, is_cancelled = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def hold(path: str) -> Any:
        found, first = open_blocking(path)
        body = found["Body"]
        found["Body"] = SimpleNamespace(close=lambda: closed.append(body.close()))
        loop.call_soon_threadsafe(is_open.set)
        is_cancelled.wait(10)
        return found, first

    driver._open = hold
    opening = asyncio.create_task(s3.open("a"))
    await is_open.wait()
    opening.cancel()
    is_cancelled.set()
    await asyncio.wait({opening})
    assert opening.cancelled()
    assert len(closed) == 1


async def test_a_bucket_that_is_not_there_is_refused(aws: str) -> None:
    async with Storage.from_url(bucket_url(aws, "a").replace(BUCKET, "no-such-bucket")) as storage:
        for call in (storage.put("a", b"x"), storage.get("a"), storage.put("a", chunks(b"x" * 9 * MIB))):
            with pytest.raises(StorageRefusedError, match="NoSuchBucket"):
                await call


async def test_without_credentials_it_says_so(aws: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    async with Storage.from_url(bucket_url(aws, "a")) as storage:
        for call in (storage.put("a", b"x"), storage.put("a", chunks(b"x" * 9 * MIB)), storage.sign_download("a")):
            with pytest.raises(StorageRefusedError, match="NoCredentials"):
                await call


async def test_credentials_come_from_a_profile_too(
    aws: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, prefix: str
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    (tmp_path / "credentials").write_text("[files]\naws_access_key_id = of-a-profile\naws_secret_access_key = secret\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "files")
    async with Storage.from_url(bucket_url(aws, prefix)) as storage:
        await storage.put("a", b"x")
        assert "of-a-profile" in await storage.sign_download("a")


async def test_a_server_that_fails_for_a_while_is_asked_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    # The waits between the attempts, of a second or so.
    monkeypatch.setattr(botocore.endpoint, "time", SimpleNamespace(sleep=lambda _seconds: None, time=time.time))
    with run_failing_server() as server:
        async with Storage.from_url(bucket_url(_address(server), "a")) as storage:
            server.failures = 2
            await storage.put("a", b"content-of-a-file")
            assert server.requests == 3
            # A second attempt might find the file of the first.
            server.failures, server.requests = 1, 0
            with pytest.raises(StorageUnavailableError, match="SlowDown"):
                await storage.put("a", b"content-of-a-file", only_if_new=True)
            assert server.requests == 1
            server.failures = 10**9
            for call in (
                storage.put("a", b"content-of-a-file"),
                storage.get("a"),
                anext(storage.list()),
                storage.put("a", chunks(b"x" * 9 * MIB)),
            ):
                server.requests = 0
                with pytest.raises(StorageUnavailableError, match="SlowDown") as found:
                    await call
                assert server.requests == 3
                _assert_clean(found.value)
            server.failures = 0
            await storage.put("a", b"content-of-a-file")
    assert "not-to-be-seen" not in caplog.text


def _address(server: Any) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


def _assert_clean(error: StorageError) -> None:
    """No credential, no address and no cause that would show them."""
    shown = f"{error!s} {error!r}"
    assert not any(text in shown for text in ("testing", "not-to-be-seen", "127.0.0.1", BUCKET))
    assert error.__cause__ is None
    assert error.__suppress_context__


async def test_a_server_that_is_not_there_or_hangs_is_waited_for_in_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_driver, "_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(s3_driver, "_RETRIES", 0)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with Storage.from_url(bucket_url(address, "a")) as storage:
            for call in (storage.put("a", b"x"), storage.get("a")):
                with pytest.raises(StorageUnavailableError) as found:
                    await call
                _assert_clean(found.value)
    async with Storage.from_url(bucket_url(address, "a")) as storage:
        with pytest.raises(StorageUnavailableError):
            await storage.exists("a")
