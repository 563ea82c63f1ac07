"""Errors about the first admin of an installation."""

from kpi_shared.errors import ProblemError


class AlreadyBootstrappedError(ProblemError):
    status = 409
    type = "already-bootstrapped"
    title = "This installation has an admin already, or another request is making it"


class InvalidBootstrapCodeError(ProblemError):
    """The same for a code that is missing, unknown or expired."""

    status = 403
    type = "invalid-bootstrap-code"
    title = (
        "The code that auth has written to its log is required; it is valid for an hour, and then there is another one"
    )
