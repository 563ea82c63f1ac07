"""An upload in parts to a bucket, by boto3, which says which upload it is, so that it can be aborted."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from kpi_kit.storage.errors import (
    AlreadyStoredError,
    StorageError,
    StorageRefusedError,
    StorageUnavailableError,
)

# All parts but the last have at least 5 MiB; there are at most 10,000, so that a file has at most 78 GiB.
PART = 8 * 1024 * 1024
_SERVER_ERROR = 500
_THERE_ALREADY = {"PreconditionFailed", "ConditionalRequestConflict"}


class Upload:
    """Its methods block, and are called one after the other."""

    def __init__(self, get_client: Callable[[], Any], path: str, place: dict[str, str]) -> None:
        self._get_client = get_client
        self._path = path
        self._place = place
        self._id: str | None = None
        self._parts: list[dict[str, Any]] = []

    def begin(self, content_type: str) -> None:
        self._id = self._call("create_multipart_upload", ContentType=content_type)["UploadId"]

    def add(self, body: bytes) -> None:
        number = len(self._parts) + 1
        response = self._call("upload_part", UploadId=self._id, PartNumber=number, Body=body)
        self._parts.append({"PartNumber": number, "ETag": response["ETag"]})

    def complete(self, last: bytes, *, only_if_new: bool) -> None:
        if last:
            self.add(last)
        condition = {"IfNoneMatch": "*"} if only_if_new else {}
        parts = {"Parts": self._parts}
        self._call("complete_multipart_upload", UploadId=self._id, MultipartUpload=parts, **condition)
        self._id = None

    def abort(self) -> None:
        """Cannot fail: what is left, a later ``tidy`` removes."""
        if self._id is not None:
            with suppress(StorageError):
                self._call("abort_multipart_upload", UploadId=self._id)

    def _call(self, name: str, **parameters: object) -> Any:  # noqa: ANN401 boto3 has no types of its own
        with translate_client_errors(self._path):
            return getattr(self._get_client(), name)(**self._place, **parameters)


@contextmanager
def translate_client_errors(path: str) -> Iterator[None]:
    """Raise the storage's own errors in the place of botocore's, which may quote what was sent."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "ClientError"))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", _SERVER_ERROR)
        if code in _THERE_ALREADY:
            raise AlreadyStoredError(path) from None
        raise (StorageUnavailableError(code) if status >= _SERVER_ERROR else StorageRefusedError(code)) from None
    except NoCredentialsError:
        raise StorageRefusedError("NoCredentials") from None
    except (BotoCoreError, ValueError) as error:
        raise StorageUnavailableError(type(error).__name__) from None
