"""The class itself: its URLs, its observer, named disks, the fake, and what the first bytes show."""

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
from kpi_kit.errors import MissingExtraError, UrlError
from kpi_kit.storage import (
    Disks,
    NoDiskError,
    NoPublicUrlError,
    Storage,
    StorageFake,
    StorageUnavailableError,
    sniff,
)
from pydantic import SecretStr

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/folder",
        "file://host/folder",
        "file:folder",
        "file:///a/../b",
        "file:///a%00b",
        "file:///a?durable=false",
        "memory://host",
        "memory:///folder",
        "s3://",
        "s3://AKIA:secret-part@bucket/prefix",
        "s3://Bucket_/prefix",
        "s3://bucket:80/prefix",
        "s3://bucket/../prefix",
        "s3://bucket/a%2F..%2Fb",
        "s3://bucket/prefix?endpoint=ftp%3A%2F%2Fhost",
        "s3://bucket/prefix?endpoint=https%3A%2F%2Fuser%3Asecret-part%40host",
        "s3://bucket/prefix?access_key_id=secret-part",
        "memory://?public_url=javascript%3Aalert(1)",
        "memory://?public_url=https%3A%2F%2Fuser%3Asecret-part%40host",
        "memory://?public_url=https%3A%2F%2Fhost%2F%3Fa%3Db",
    ],
)
def test_another_url_is_refused_and_not_quoted(url: str) -> None:
    for form in (url, SecretStr(url)):
        with pytest.raises(UrlError) as found:
            Storage.from_url(form)
        assert "secret-part" not in f"{found.value}{found.value.__cause__}"


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "kpi_kit.storage.drivers.s3", raising=False)
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(MissingExtraError, match=r"kpi-kit\[storage-s3\]"):
        Storage.from_url("s3://bucket/a")
    for url in ("file:///a", "memory://"):
        Storage.from_url(url)


async def test_each_call_is_observed_under_a_fixed_name(tmp_path: Path) -> None:
    calls: list[tuple[str, str, str]] = []

    class Recorder:
        def observe(self, library: str, operation: str, driver: str) -> AbstractContextManager[object]:
            calls.append((library, operation, driver))
            return nullcontext()

    async with Storage.from_url(f"file://{tmp_path}", observer=Recorder()) as storage:
        await storage.put("a", b"x")
        await storage.get("a")
        await storage.copy("a", "b")
        [info async for info in storage.list()]
        await storage.delete("a")
    assert [call[1] for call in calls] == ["put", "get", "copy", "list", "list", "delete"]
    assert {(call[0], call[2]) for call in calls} == {("storage", "local")}


async def test_disks_have_names(tmp_path: Path) -> None:
    async with Disks.from_urls({"invoices": f"file://{tmp_path}", "cache": SecretStr("memory://")}) as disks:
        await disks["invoices"].put("a", b"x")
        assert not await disks["cache"].exists("a")
        assert list(disks) == ["invoices", "cache"]
        with pytest.raises(NoDiskError, match=r"no disk 'pictures'; there are: cache, invoices$"):
            disks["pictures"]
        assert disks.get("pictures") is None


async def test_without_a_public_url_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(NoPublicUrlError, match="public_url"):
        Storage.from_url(f"file://{tmp_path}").make_url("a")


async def test_the_fake_keeps_calls_and_checks_files(fake: StorageFake) -> None:
    await fake.put("a", b"x")
    await fake.get("a")
    assert fake.calls == [("write", "a"), ("open", "a")]
    await fake.assert_stored("a")
    await fake.assert_stored("a", b"x")
    await fake.assert_not_stored("b")
    for wrong in (fake.assert_stored("a", b"y"), fake.assert_stored("b"), fake.assert_not_stored("a")):
        with pytest.raises(AssertionError):
            await wrong
    assert "method=PUT" in await fake.sign_upload("a", size=1, content_type="image/png")


async def test_the_fake_fails_when_told_and_works_again(fake: StorageFake) -> None:
    fake.fail_with(StorageUnavailableError("SlowDown"))
    for call in (fake.put("a", b"x"), fake.get("a"), fake.delete("a"), fake.tidy(), fake.sign_download("a")):
        with pytest.raises(StorageUnavailableError):
            await call
    fake.fail_with(None)
    await fake.put("a", b"x")


@pytest.mark.parametrize(
    ("beginning", "content_type"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00", "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", "audio/wav"),
        (b"RIFF\x00\x00\x00\x00AVI ", "application/octet-stream"),
        (b"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00", "image/avif"),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00", "video/mp4"),
        (b"\x00\x00\x00\x18ftyp<svg", "application/octet-stream"),
        (b"%PDF-1.7", "application/pdf"),
        (b"PK\x03\x04\x14\x00", "application/zip"),
        (b"\x1f\x8b\x08\x00", "application/gzip"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "application/octet-stream"),
        (b"<!doctype html><script>", "application/octet-stream"),
        (b"BM is how this text begins", "application/octet-stream"),
        (b"P6 too", "application/octet-stream"),
        (b"", "application/octet-stream"),
        (b"\x89PN", "application/octet-stream"),
    ],
)
def test_the_first_bytes_decide(beginning: bytes, content_type: str) -> None:
    assert sniff(beginning) == content_type
