"""Files in a bucket of S3, or of a store with the same interface.

By boto3 in threads, and not by obstore 0.12.1 (November 2026), which aborts processes when they end, leaves the parts
of cancelled uploads, and finds credentials in half of AWS's places (docs/adr/0063-storage.md).
"""

import re
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config

from kpi_kit.errors import UrlError
from kpi_kit.storage.contract import CHUNK, FileInfo, OpenFile, Signature
from kpi_kit.storage.drivers.s3_calls import PART, Upload, create_error, name_missing, translate_errors
from kpi_kit.storage.drivers.s3_threads import DaemonThreads, TimedThreads, end_calls_in_time, end_read_in_time
from kpi_kit.storage.errors import PathError, StorageError
from kpi_kit.storage.paths import check_prefix, is_path
from kpi_kit.storage.sniffing import LOOKED_AT, sniff
from kpi_kit.urls import Url, read_number

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ENDPOINT = re.compile(r"https?://[^@?#]+")
_DEFAULT_REGION = "us-east-1"
# How long each attempt waits to connect and for each byte, and a call as a whole if the URL does not say it.
_TIMEOUT_SECONDS = 5.0
_CALL_SECONDS = 20.0
# What the server does with whole files: S3 sends blanks meanwhile, for minutes.
_SERVER_SECONDS = 300.0
_RETRIES = 2
_THREADS = 16
_MOST_DELETED = 1000


def create_driver(url: Url) -> "S3Driver":
    endpoint = url.options.get("endpoint") or None
    if not _BUCKET.fullmatch(url.host) or url.port or (endpoint and not _ENDPOINT.fullmatch(endpoint)):
        raise UrlError("the URL of a bucket has the form s3://bucket/prefix?region=eu-central-1&endpoint=https://host")
    if url.username or url.password:
        raise UrlError("the URL of a bucket has no credentials: they come from AWS's own variables, files or roles")
    try:
        prefix = check_prefix(url.path.strip("/"))
    except PathError as error:
        raise UrlError(f"the prefix in the URL of a bucket is a path: {error}") from None
    seconds = read_number(url, "timeout", default=_CALL_SECONDS, least=0.1, most=3600)
    return S3Driver(url.host, prefix, region=url.options.get("region"), endpoint=endpoint, seconds=seconds)


class S3Driver:
    """See ``StorageDriver``. A call that fails is made twice more, all within ``seconds``, as is a chunk of a file."""

    def __init__(
        self, bucket: str, prefix: str, *, region: str | None, endpoint: str | None, seconds: float = _CALL_SECONDS
    ) -> None:
        self._bucket = bucket
        self._start = f"{prefix}/" if prefix else ""
        self._region = region
        self._endpoint = endpoint
        self._seconds = seconds

    async def start(self) -> None:
        self._threads = TimedThreads(DaemonThreads(_THREADS), self._seconds)

    async def close(self) -> None:
        self._threads.close()
        for name in {"_client", "_once"} & self.__dict__.keys():
            self.__dict__[name].close()

    # Made in a thread, when it is needed: boto3 reads files for it.
    @cached_property
    def _client(self) -> Any:  # noqa: ANN401 boto3 has no types of its own
        return self._build_client(attempts=_RETRIES + 1)

    @cached_property
    def _once(self) -> Any:  # noqa: ANN401 as above
        """For calls with a condition: a second attempt would find the file of the first, whose response was lost."""
        return self._build_client(attempts=1)

    def _build_client(self, *, attempts: int) -> Any:  # noqa: ANN401 as above
        session = boto3.Session(region_name=self._region)
        config = Config(
            connect_timeout=min(_TIMEOUT_SECONDS, self._seconds),
            read_timeout=min(_TIMEOUT_SECONDS, self._seconds),
            retries={"total_max_attempts": attempts},
            max_pool_connections=_THREADS,
            signature_version="s3v4",
        )
        region = session.region_name or _DEFAULT_REGION
        client = session.client("s3", region_name=region, endpoint_url=self._endpoint, config=config)
        end_calls_in_time(client)
        return client

    @property
    def _by_server(self) -> TimedThreads:
        return self._threads.allow(_SERVER_SECONDS)

    def _place(self, path: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": f"{self._start}{path}"}

    def _call_blocking(self, name: str, path: str, /, **parameters: object) -> Any:  # noqa: ANN401 as above
        with translate_errors(path):
            return getattr(self._once if "IfNoneMatch" in parameters else self._client, name)(**parameters)

    async def write(
        self, path: str, data: bytes | AsyncIterator[bytes], *, content_type: str, only_if_new: bool
    ) -> None:
        """A stream of at most one part is one request; of a longer one, one part is in memory."""
        if isinstance(data, bytes):
            await self._put(path, data, content_type=content_type, only_if_new=only_if_new)
            return
        part = bytearray()
        upload = Upload(self._call_blocking, path, self._place(path))
        try:
            async for chunk in data:
                part += chunk
                if len(part) >= PART:
                    await self._threads.run(upload.add, bytes(part), content_type)
                    part.clear()
            if upload.has_begun:
                await self._by_server.run(upload.complete, bytes(part), only_if_new=only_if_new)
            else:
                await self._put(path, bytes(part), content_type=content_type, only_if_new=only_if_new)
        except BaseException:
            await self._threads.finish(upload.abort)
            raise

    async def _put(self, path: str, data: bytes, *, content_type: str, only_if_new: bool) -> None:
        condition = {"IfNoneMatch": "*"} if only_if_new else {}
        parameters = {**self._place(path), "Body": data, "ContentType": content_type, **condition}
        await self._threads.run(self._call_blocking, "put_object", path, **parameters)

    async def read_info(self, path: str) -> FileInfo:
        """Never with the type that the bucket gives: with a signed URL, a client has chosen it."""
        return await self._threads.run(self._read_info, path)

    def _read_info(self, path: str) -> FileInfo:
        place, beginning = self._place(path), f"bytes=0-{LOOKED_AT - 1}"
        try:
            found = self._call_blocking("get_object", path, **place, Range=beginning)
        except StorageError as error:
            if error.reason != "InvalidRange":
                raise
            # The file is empty.
            found = self._call_blocking("head_object", path, **place)
            return _describe(path, found, found["ContentLength"], b"")
        with found["Body"] as body:
            first = _read(path, body, LOOKED_AT)
        size = int(found.get("ContentRange", f"/{found['ContentLength']}").rpartition("/")[2])
        return _describe(path, found, size, first)

    async def open(self, path: str) -> OpenFile:
        found, first = await self._threads.open(_close, self._open, path)
        info = _describe(path, found, found["ContentLength"], first)
        return OpenFile(info, self._read(path, found["Body"], first), found["Body"].close)

    def _open(self, path: str) -> tuple[dict[str, Any], bytes]:
        found: dict[str, Any] = self._call_blocking("get_object", path, **self._place(path))
        try:
            return found, _read(path, found["Body"], CHUNK)
        except BaseException:
            found["Body"].close()
            raise

    async def _read(self, path: str, body: Any, chunk: bytes) -> AsyncIterator[bytes]:  # noqa: ANN401 as above
        while chunk:
            yield chunk
            chunk = await self._threads.run(_read_next, path, body)

    async def list(self, prefix: str, *, after: str) -> AsyncIterator[Sequence[FileInfo]]:
        place = {"Bucket": self._bucket, "Prefix": f"{self._start}{prefix}/" if prefix else self._start}
        token = {"StartAfter": f"{self._start}{after}"} if after else {}
        while True:
            page = await self._threads.run(self._call_blocking, "list_objects_v2", prefix, **place, **token)
            found = [self._describe_listed(item) for item in page.get("Contents", [])]
            yield [info for info in found if is_path(info.path)]
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _describe_listed(self, item: dict[str, Any]) -> FileInfo:
        path = item["Key"].removeprefix(self._start)
        return FileInfo(path, item["Size"], item["LastModified"], item["ETag"].strip('"'))

    async def copy(self, source: str, target: str, *, only_if_new: bool, is_move: bool) -> None:
        if only_if_new:
            await self._copy_new(source, target)
        else:
            with name_missing(source):
                place = self._place(target)
                await self._by_server.run(
                    self._call_blocking, "copy_object", target, **place, CopySource=self._place(source)
                )
        if is_move:
            for error in (await self.delete([source])).values():
                raise error

    async def _copy_new(self, source: str, target: str) -> None:
        """As an upload of one part that the server copies: only its end can be made to depend on the target."""
        info = await self.read_info(source)
        if not info.size:
            await self._put(target, b"", content_type=info.content_type or "", only_if_new=True)
            return
        upload = Upload(self._call_blocking, target, self._place(target))
        try:
            with name_missing(source):
                await self._by_server.run(upload.add_copy, self._place(source), info.content_type or "")
            await self._by_server.run(upload.complete, b"", only_if_new=True)
        except BaseException:
            await self._threads.finish(upload.abort)
            raise

    async def delete(self, paths: Sequence[str]) -> dict[str, StorageError]:
        failed: dict[str, StorageError] = {}
        for start in range(0, len(paths), _MOST_DELETED):
            objects = [{"Key": f"{self._start}{path}"} for path in paths[start : start + _MOST_DELETED]]
            deleted = {"Objects": objects, "Quiet": True}
            call = self._threads.run(self._call_blocking, "delete_objects", "", Bucket=self._bucket, Delete=deleted)
            # The status is 200 even if nothing was deleted.
            for error in (await call).get("Errors", []):
                failed[error["Key"].removeprefix(self._start)] = create_error(error["Code"])
        return failed

    async def sign(self, path: str, signature: Signature) -> str:
        return await self._threads.run(self._sign, path, signature)

    def _sign(self, path: str, signature: Signature) -> str:
        given: dict[str, object]
        if signature.method == "GET":
            types = {"ResponseContentType": signature.content_type}
            name, given = "get_object", {**types, "ResponseContentDisposition": signature.disposition}
        else:
            name, given = "put_object", {"ContentType": signature.content_type, "ContentLength": signature.size}
        parameters = {**self._place(path)} | {key: value for key, value in given.items() if value is not None}
        seconds = int(signature.expires_in.total_seconds())
        with translate_errors(path):
            return str(self._client.generate_presigned_url(name, Params=parameters, ExpiresIn=seconds))

    async def tidy(self, age: timedelta) -> int:
        return await self._by_server.run(self._abort_uploads, datetime.now(UTC) - age)

    def _abort_uploads(self, before: datetime) -> int:
        """Uploads whose process has ended: their parts are in no listing, and cost."""
        aborted = 0
        with translate_errors(""):
            pages = self._client.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._start):
                for found in page.get("Uploads", []):
                    if found["Initiated"] < before:
                        place = {"Bucket": self._bucket, "Key": found["Key"], "UploadId": found["UploadId"]}
                        self._client.abort_multipart_upload(**place)
                        aborted += 1
        return aborted


def _close(opened: tuple[dict[str, Any], bytes]) -> None:
    opened[0]["Body"].close()


def _read(path: str, body: Any, size: int) -> bytes:  # noqa: ANN401 boto3 has no types of its own
    with translate_errors(path):
        return bytes(body.read(size))


def _read_next(path: str, body: Any) -> bytes:  # noqa: ANN401 as above
    with translate_errors(path):
        end_read_in_time(body)
    return _read(path, body, CHUNK)


def _describe(path: str, found: dict[str, Any], size: int, first: bytes) -> FileInfo:
    return FileInfo(path, size, found["LastModified"], found["ETag"].strip('"'), sniff(first))
