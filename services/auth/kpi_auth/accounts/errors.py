"""What can be wrong with an account."""

from kpi_shared.errors import ProblemError


class UserNotFoundError(ProblemError):
    status = 404
    type = "user-not-found"
    title = "There is no such user"


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
    title = "Only an admin can add users here"
