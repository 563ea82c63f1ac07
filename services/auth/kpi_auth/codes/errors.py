"""Errors about single-use codes."""

from kpi_shared.errors import ProblemError


class InvalidCodeError(ProblemError):
    """The same for a code that is unknown, used or expired."""

    status = 400
    type = "invalid-code"
    title = "This code is unknown, was used already, or has expired"
