"""Errors about accounts."""

from kpi_shared.errors import ProblemError


class UserNotFoundError(ProblemError):
    status = 404
    type = "user-not-found"
    title = "The user does not exist"


class UsernameTakenError(ProblemError):
    status = 409
    type = "username-taken"
    title = "This username is taken"

    def __init__(self) -> None:
        super().__init__(errors=[{"pointer": "#/body/username", "detail": "is taken", "type": "taken"}])


class EmailTakenError(ProblemError):
    status = 409
    type = "email-taken"
    title = "This e-mail address is taken"

    def __init__(self) -> None:
        super().__init__(errors=[{"pointer": "#/body/email", "detail": "is taken", "type": "taken"}])


class RegistrationClosedError(ProblemError):
    status = 403
    type = "registration-closed"
    title = "Registration is closed: only an admin can create users"
