"""What can be wrong with a registration."""

from collections.abc import Sequence

from kpi_shared.errors import ForbiddenError, ProblemError


class RegistrationClosedError(ProblemError):
    status = 403
    type = "registration-closed"
    title = "Only an admin can add users here"


class FieldNotYoursError(ForbiddenError):
    """A field that only an admin may set; it is refused, never silently dropped."""

    type = "field-not-yours"
    title = "Only an admin may set this"

    def __init__(self, fields: Sequence[str]) -> None:
        errors = [{"pointer": f"#/body/{name}", "detail": "is an admin's", "type": "forbidden"} for name in fields]
        super().__init__(f"Only an admin may set {' and '.join(fields)}", errors=errors)
