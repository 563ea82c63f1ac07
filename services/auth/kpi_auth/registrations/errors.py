"""What can be wrong with a registration."""

from kpi_shared.errors import ProblemError


class RegistrationClosedError(ProblemError):
    status = 403
    type = "registration-closed"
    title = "Only an admin can add users here"
