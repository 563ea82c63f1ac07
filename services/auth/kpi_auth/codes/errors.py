"""What can be wrong with a code."""

from kpi_shared.errors import ProblemError


class InvalidCodeError(ProblemError):
    """The same for a code that never was, was used, or is too old."""

    status = 400
    type = "invalid-code"
    title = "This code is not valid, was used already, or has expired"
