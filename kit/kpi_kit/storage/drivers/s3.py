"""Files in a bucket of S3, or of a store with the same interface.

obstore makes the calls. boto3 does what obstore 0.12.1 (November 2026) does not: it finds credentials in all of AWS's
places, signs URLs that say what may be sent, and aborts uploads of cancelled tasks (docs/adr/0063-storage.md).
"""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from obstore.store import S3Store

from kpi_kit.errors import UrlError
from kpi_kit.storage.contract import Signature
from kpi_kit.storage.drivers.objects import ObjectDriver
from kpi_kit.storage.drivers.s3_uploads import PART, Upload, translate_client_errors
from kpi_kit.storage.errors import PathError, StorageRefusedError
from kpi_kit.storage.paths import check_prefix
from kpi_kit.storage.threads import Threads
from kpi_kit.urls import Url

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig, S3Credential

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_DEFAULT_REGION = "us-east-1"
_CONNECT = timedelta(seconds=5)
_READ = timedelta(seconds=10)
# A whole response, which may be a large file.
_RESPONSE = timedelta(hours=1)
_RETRIES: "RetryConfig" = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=10),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=1), "base": 2},
}
# botocore renews credentials a quarter of an hour before they end.
_CREDENTIALS = timedelta(minutes=5)


def create_driver(url: Url) -> "S3Driver":
    endpoint = url.options.get("endpoint")
    if not _BUCKET.fullmatch(url.host) or url.port or (endpoint and not re.match(r"https?://[^@/]+/?$", endpoint)):
        raise UrlError("the URL of a bucket has the form s3://bucket/prefix?region=eu-central-1&endpoint=https://host")
    if url.username or url.password:
        raise UrlError("the URL of a bucket has no credentials: they come from AWS's own variables, files or roles")
    try:
        prefix = check_prefix(url.path.strip("/"))
    except PathError as error:
        raise UrlError(f"the prefix in the URL of a bucket is a path: {error}") from None
    return S3Driver(url.host, prefix, region=url.options.get("region"), endpoint=endpoint)


class S3Driver(ObjectDriver):
    """See ``StorageDriver``. A call that fails is made at most three times more, within ten seconds."""

    name = "s3"

    def __init__(self, bucket: str, prefix: str, *, region: str | None, endpoint: str | None) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._region = region
        self._endpoint = endpoint
        self._threads = Threads()

    async def start(self) -> None:
        self._session = await self._threads.run(boto3.Session, region_name=self._region)
        self._store = self._open_store()

    async def close(self) -> None:
        self._threads.close()

    def _open_store(self) -> "ObjectStore":
        client: ClientConfig = {
            "allow_http": (self._endpoint or "").startswith("http://"),
            "connect_timeout": _CONNECT,
            "read_timeout": _READ,
            "timeout": _RESPONSE,
        }
        return S3Store(
            self._bucket,
            prefix=self._prefix or None,
            region=self._session.region_name or _DEFAULT_REGION,
            client_options=client,
            retry_config=_RETRIES,
            credential_provider=self._give_credentials,
            copy_if_not_exists="multipart",
            config={"endpoint": self._endpoint} if self._endpoint else None,
        )

    async def _give_credentials(self) -> "S3Credential":
        found = await self._threads.run(self._find_credentials)
        return {
            "access_key_id": found.access_key,
            "secret_access_key": found.secret_key,
            "token": found.token,
            "expires_at": datetime.now(UTC) + _CREDENTIALS,
        }

    def _find_credentials(self) -> Any:  # noqa: ANN401 botocore has no types of its own
        found = self._session.get_credentials()
        if found is None:
            raise StorageRefusedError("NoCredentials")
        return found.get_frozen_credentials()

    def _place(self, path: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": f"{self._prefix}/{path}" if self._prefix else path}

    # Made in a thread and when it is needed: boto3 reads files for it.
    @cached_property
    def _client(self) -> Any:  # noqa: ANN401 boto3 has no types of its own
        config = Config(
            connect_timeout=_CONNECT.total_seconds(),
            read_timeout=_READ.total_seconds(),
            retries={"max_attempts": 3},
            signature_version="s3v4",
        )
        region = self._session.region_name or _DEFAULT_REGION
        return self._session.client("s3", region_name=region, endpoint_url=self._endpoint, config=config)

    async def write(
        self, path: str, data: bytes | AsyncIterator[bytes], *, content_type: str, only_if_new: bool
    ) -> None:
        """A stream of at most one part is one request; of a longer one, one part is in memory."""
        if isinstance(data, bytes):
            await self._put(path, data, content_type=content_type, only_if_new=only_if_new)
            return
        part = bytearray()
        upload: Upload | None = None
        try:
            async for chunk in data:
                part += chunk
                if len(part) >= PART:
                    upload = upload or await self._begin(path, content_type)
                    await self._threads.run(upload.add, bytes(part))
                    part.clear()
            if upload is None:
                await self._put(path, bytes(part), content_type=content_type, only_if_new=only_if_new)
            else:
                await self._threads.run(upload.complete, bytes(part), only_if_new=only_if_new)
        except BaseException:
            if upload is not None:
                await self._threads.finish(upload.abort)
            raise

    async def _begin(self, path: str, content_type: str) -> Upload:
        upload = Upload(lambda: self._client, path, self._place(path))
        try:
            await self._threads.run(upload.begin, content_type)
        except BaseException:
            await self._threads.finish(upload.abort)
            raise
        return upload

    async def sign(self, path: str, signature: Signature) -> str:
        return await self._threads.run(self._sign, path, signature)

    def _sign(self, path: str, signature: Signature) -> str:
        given: dict[str, object]
        if signature.method == "GET":
            name, given = (
                "get_object",
                {
                    "ResponseContentType": signature.content_type,
                    "ResponseContentDisposition": signature.disposition,
                },
            )
        else:
            name, given = "put_object", {"ContentType": signature.content_type, "ContentLength": signature.size}
        parameters = {**self._place(path)} | {key: value for key, value in given.items() if value is not None}
        seconds = int(signature.expires_in.total_seconds())
        with translate_client_errors(path):
            return str(self._client.generate_presigned_url(name, Params=parameters, ExpiresIn=seconds))

    async def tidy(self, age: timedelta) -> int:
        return await self._threads.run(self._abort_uploads, datetime.now(UTC) - age)

    def _abort_uploads(self, before: datetime) -> int:
        """Uploads whose process has ended: their parts are in no listing, and cost."""
        aborted = 0
        with translate_client_errors(""):
            pages = self._client.get_paginator("list_multipart_uploads")
            for page in pages.paginate(Bucket=self._bucket, Prefix=f"{self._prefix}/" if self._prefix else ""):
                for found in page.get("Uploads", []):
                    if found["Initiated"] < before:
                        self._client.abort_multipart_upload(
                            Bucket=self._bucket, Key=found["Key"], UploadId=found["UploadId"]
                        )
                        aborted += 1
        return aborted
