"""Errors about the first admin of an installation."""

from kpi_shared.errors import ProblemError


class AlreadyBootstrappedError(ProblemError):
    status = 409
    type = "already-bootstrapped"
    title = "This installation already has an admin, or another request is creating the first one"


class InvalidBootstrapCodeError(ProblemError):
    """The same for a code that is missing, unknown or expired."""

    status = 403
    type = "invalid-bootstrap-code"
    title = (
        "A valid bootstrap code is required: auth writes one to its log, and a new one when it expires after an hour"
    )
