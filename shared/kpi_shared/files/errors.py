"""The problems of uploads and downloads."""

from kpi_shared.errors import ProblemError, UnavailableError


class NoFileError(ProblemError):
    status = 404
    type = "file-not-found"
    title = "There is no file here"


class FileTooLargeError(ProblemError):
    status = 413
    type = "file-too-large"
    title = "The file is too large"


class EmptyFileError(ProblemError):
    status = 422
    type = "empty-file"
    title = "The body must be the file itself, and it is empty"


class NotAnImageError(ProblemError):
    """The first bytes decide, not the name of a type that the client sends."""

    status = 415
    type = "not-an-image"
    title = "The file is not a PNG, JPEG, GIF or WebP image"


class FilesUnavailableError(UnavailableError):
    type = "files-unavailable"
    title = "Files cannot be stored or read at the moment"
