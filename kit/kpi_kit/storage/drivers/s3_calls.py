"""The calls of boto3: its errors as those of the storage, and an upload in parts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from kpi_kit.storage.errors import (
    AlreadyStoredError,
    NotStoredError,
    StorageError,
    StorageRefusedError,
    StorageUnavailableError,
)

# All parts but the last have at least 5 MiB; there are at most 10,000, so that a file has at most 78 GiB.
PART = 8 * 1024 * 1024
_NOT_THERE = {"NoSuchKey", "404"}
# "ConditionalRequestConflict": another call for this key is not at its end yet, so nothing is known.
_MAY_PASS = {
    "ConditionalRequestConflict",
    "SlowDown",
    "InternalError",
    "ServiceUnavailable",
    "RequestTimeout",
    "ThrottlingException",
}
_SERVER_ERROR = 500


class Upload:
    """An upload in parts. Its methods block, and are called one after the other."""

    def __init__(self, call: Callable[..., Any], path: str, place: dict[str, str]) -> None:
        self._call_client = call
        self._path = path
        self._place = place
        self._id: str | None = None
        self._parts: list[dict[str, Any]] = []

    @property
    def has_begun(self) -> bool:
        return self._id is not None

    def add(self, body: bytes, content_type: str) -> None:
        self._begin(content_type)
        self._note(self._call("upload_part", PartNumber=len(self._parts) + 1, Body=body)["ETag"])

    def add_copy(self, source: dict[str, str], content_type: str) -> None:
        self._begin(content_type)
        response = self._call("upload_part_copy", PartNumber=len(self._parts) + 1, CopySource=source)
        self._note(response["CopyPartResult"]["ETag"])

    def complete(self, last: bytes, *, only_if_new: bool) -> None:
        if last:
            self.add(last, "")
        condition = {"IfNoneMatch": "*"} if only_if_new else {}
        self._call("complete_multipart_upload", MultipartUpload={"Parts": self._parts}, **condition)
        self._id = None

    def abort(self) -> None:
        """Cannot fail: what is left, a later ``tidy`` removes."""
        if self._id is not None:
            with suppress(StorageError):
                self._call("abort_multipart_upload")

    def _begin(self, content_type: str) -> None:
        if self._id is None:
            response = self._call_client("create_multipart_upload", self._path, **self._place, ContentType=content_type)
            self._id = response["UploadId"]

    def _note(self, etag: str) -> None:
        self._parts.append({"PartNumber": len(self._parts) + 1, "ETag": etag})

    def _call(self, name: str, **parameters: object) -> Any:  # noqa: ANN401 boto3 has no types of its own
        return self._call_client(name, self._path, **self._place, UploadId=self._id, **parameters)


@contextmanager
def translate_errors(path: str) -> Iterator[None]:
    """Raise the storage's own errors in the place of botocore's, which may quote what was sent."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "ClientError"))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", _SERVER_ERROR)
        raise create_error(code, path, is_server_error=status >= _SERVER_ERROR) from None
    except NoCredentialsError:
        raise StorageRefusedError("NoCredentials") from None
    except (BotoCoreError, ValueError, OSError) as error:
        raise StorageUnavailableError(type(error).__name__) from None


def create_error(code: str, path: str = "", *, is_server_error: bool = False) -> StorageError:
    """The error for a code of S3."""
    if code in _NOT_THERE:
        return NotStoredError(path)
    if code == "PreconditionFailed":
        return AlreadyStoredError(path)
    return StorageUnavailableError(code) if is_server_error or code in _MAY_PASS else StorageRefusedError(code)


@contextmanager
def name_missing(source: str) -> Iterator[None]:
    """In a copy it is the source that is not there, and not the target, whose path the call has."""
    try:
        yield
    except NotStoredError:
        raise NotStoredError(source) from None
