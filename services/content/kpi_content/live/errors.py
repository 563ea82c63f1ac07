"""The problems of streamed uploads. Each names in Location the message that holds what had come."""

from kpi_shared.errors import ProblemError, UnavailableError


class UploadError(ProblemError):
    """The base class: an upload that was not complete."""


class MalformedUploadError(UploadError):
    status = 422
    type = "malformed-upload"
    title = "The streamed message cannot be read"


class UploadTooLongError(UploadError):
    status = 413
    type = "message-too-long"
    title = "The streamed message is longer than a message may be"


class SilentUploadError(UploadError):
    """RFC 9110, section 15.5.9."""

    status = 408
    type = "upload-silent"
    title = "Nothing came for too long"


class EmptyUploadError(UploadError):
    status = 422
    type = "empty-message"
    title = "The streamed message has no text"


class StoppedUploadError(UploadError, UnavailableError):
    type = "upload-stopped"
    title = "The service stops; begin again with another message"


class TooManyUploadsError(ProblemError):
    status = 429
    type = "too-many-uploads"
    title = "The account is streaming as many messages as it may"


class TooManyStreamsError(ProblemError):
    status = 429
    type = "too-many-streams"
    title = "The account is following as many conversations as it may"
