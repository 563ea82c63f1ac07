"""The problems of streamed uploads. Each names in Location the message that holds what had come."""

from kpi_shared.errors import ProblemError, UnavailableError


class UploadError(ProblemError):
    """The base class: an upload that was not complete."""


class MalformedUploadError(UploadError):
    status = 422
    type = "malformed-upload"
    title = "The streamed message cannot be read"

    def __init__(self, detail: str, *, pointer: str = "#/body", kind: str = "malformed") -> None:
        """``detail`` names the line, which a pointer into the body cannot."""
        super().__init__(detail, errors=[{"pointer": pointer, "detail": detail, "type": kind}])


class UploadTooLongError(UploadError):
    status = 413
    type = "message-too-long"
    title = "The streamed message is longer than a message may be"


class SilentUploadError(UploadError):
    """RFC 9110, section 15.5.9."""

    status = 408
    type = "upload-silent"
    title = "No data was received in time"


class EmptyUploadError(UploadError):
    status = 422
    type = "empty-message"
    title = "The streamed message has no text"

    def __init__(self) -> None:
        super().__init__(errors=[{"pointer": "#/body", "detail": "has no text", "type": "empty"}])


class RefusedUploadError(UploadError):
    """One who may write again by its end; else nothing is stored, and the problem is that of the rights."""

    status = 403
    type = "upload-refused"
    title = "The author lost the right to write in the conversation while the message was streamed"


class StoppedUploadError(UploadError, UnavailableError):
    type = "upload-stopped"
    title = "The service is stopping; send the message again"


class TooManyUploadsError(ProblemError):
    status = 429
    type = "too-many-uploads"
    title = "The account has too many streamed messages under way: wait until one ends"
