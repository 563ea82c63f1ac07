"""The error for too many attempts."""

import math

from kpi_shared.errors import ProblemError


class TooManyAttemptsError(ProblemError):
    """The same whether or not the account exists."""

    status = 429
    type = "too-many-attempts"
    title = "Too many attempts; wait before the next one"

    def __init__(self, *, seconds: float) -> None:
        super().__init__(headers={"Retry-After": str(max(1, math.ceil(seconds)))})
