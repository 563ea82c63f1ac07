"""Files in a bucket of S3, or of a store with the same interface."""

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from kpi_shared.files.store import OpenFile, Threads, check_key, is_key

# A part of an upload has at least 5 MiB, but for the last.
_PART = 8 * 1024 * 1024
_SIGNED_SECONDS = 60
_TIMEOUT_SECONDS = 5
_MOST_REMOVED = 1000


class BucketStore:
    """See ``FileStore``. Clients read from the bucket itself, by an address that is signed for a minute."""

    def __init__(self, bucket: str, prefix: str, *, region: str | None, endpoint_url: str | None) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._region = region
        self._endpoint_url = endpoint_url
        self._threads = Threads()

    @cached_property
    def _client(self) -> Any:  # noqa: ANN401 boto3 has no types of its own
        # boto3 takes a fifth of a second to import, so it is imported only if it is used.
        from boto3 import client  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415

        config = Config(
            connect_timeout=_TIMEOUT_SECONDS,
            read_timeout=_TIMEOUT_SECONDS,
            retries={"max_attempts": 2},
            signature_version="s3v4",
        )
        return client("s3", region_name=self._region, endpoint_url=self._endpoint_url, config=config)

    async def save(self, key: str, chunks: AsyncIterator[bytes], *, media_type: str) -> None:
        target = {"Bucket": self._bucket, "Key": self._prefix + check_key(key)}
        part = bytearray()
        upload: _Upload | None = None
        try:
            async for chunk in chunks:
                part += chunk
                if len(part) >= _PART:
                    upload = upload or _Upload(target, await self._call("create_multipart_upload", media_type, target))
                    await self._add_part(upload, bytes(part))
                    part.clear()
            if upload is None:
                await self._run("put_object", **target, Body=bytes(part), ContentType=media_type)
            else:
                await self._finish(upload, bytes(part))
        except BaseException:
            if upload is not None:
                with suppress(OSError):
                    await self._run("abort_multipart_upload", **target, UploadId=upload.id)
            raise

    async def _call(self, name: str, media_type: str, target: dict[str, str]) -> str:
        response = await self._run(name, **target, ContentType=media_type)
        return str(response["UploadId"])

    async def _add_part(self, upload: "_Upload", body: bytes) -> None:
        number = len(upload.parts) + 1
        response = await self._run("upload_part", **upload.target, UploadId=upload.id, PartNumber=number, Body=body)
        upload.parts.append({"PartNumber": number, "ETag": response["ETag"]})

    async def _finish(self, upload: "_Upload", last: bytes) -> None:
        if last:
            await self._add_part(upload, last)
        parts = {"Parts": upload.parts}
        await self._run("complete_multipart_upload", **upload.target, UploadId=upload.id, MultipartUpload=parts)

    async def open(self, key: str) -> OpenFile | None:  # noqa: ARG002 of the seam
        return None

    async def sign(self, key: str, *, media_type: str, disposition: str) -> str | None:
        parameters = {
            "Bucket": self._bucket,
            "Key": self._prefix + check_key(key),
            "ResponseContentType": media_type,
            "ResponseContentDisposition": disposition,
        }
        url = await self._run("generate_presigned_url", "get_object", Params=parameters, ExpiresIn=_SIGNED_SECONDS)
        return str(url)

    async def remove(self, *keys: str) -> dict[str, str]:
        failed = {}
        for start in range(0, len(keys), _MOST_REMOVED):
            objects = [{"Key": self._prefix + check_key(key)} for key in keys[start : start + _MOST_REMOVED]]
            deleted = {"Objects": objects, "Quiet": True}
            response = await self._run("delete_objects", Bucket=self._bucket, Delete=deleted)
            # The status is 200 even if nothing was deleted.
            for error in response.get("Errors", []):
                failed[error["Key"].removeprefix(self._prefix)] = error["Code"]
        return failed

    async def list_old(self, prefix: str, *, age: timedelta) -> AsyncIterator[list[str]]:
        before = datetime.now(UTC) - age
        token: dict[str, str] = {}
        while True:
            page = await self._run("list_objects_v2", Bucket=self._bucket, Prefix=f"{self._prefix}{prefix}/", **token)
            objects = page.get("Contents", [])
            keys = [item["Key"].removeprefix(self._prefix) for item in objects if item["LastModified"] < before]
            yield [key for key in keys if is_key(key)]
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    async def close(self) -> None:
        self._threads.close()

    async def _run(self, name: str, *arguments: object, **keywords: object) -> Any:  # noqa: ANN401 as above
        """OSError if the store cannot be reached, or refuses."""
        return await self._threads.run(self._run_blocking, name, *arguments, **keywords)

    def _run_blocking(self, name: str, *arguments: object, **keywords: object) -> Any:  # noqa: ANN401 as above
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 as boto3 above

        try:
            return getattr(self._client, name)(*arguments, **keywords)
        except (BotoCoreError, ClientError) as error:
            raise OSError(f"{name}: {type(error).__name__}") from error


class _Upload:
    """An upload in parts."""

    def __init__(self, target: dict[str, str], upload_id: str) -> None:
        self.target = target
        self.id = upload_id
        self.parts: list[dict[str, Any]] = []
