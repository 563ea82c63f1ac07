"""What can be wrong with passwords."""

from kpi_shared.errors import ForbiddenError, InvalidRequestError, ProblemError


class NewPasswordRefusedError(InvalidRequestError):
    """A new password that is not taken, for a reason that only the database knows."""

    def __init__(self, reason: str, *, kind: str) -> None:
        pointer, detail = "#/body/new_password", f"The password {reason}"
        super().__init__(f"{pointer}: {detail}", errors=[{"pointer": pointer, "detail": detail, "type": kind}])


class PasswordChangedMeanwhileError(ProblemError):
    """Of two changes at once, the first one counts."""

    status = 409
    type = "password-changed-meanwhile"
    title = "The password was changed meanwhile"


class WrongPasswordError(ForbiddenError):
    """401 would say that the access token does not count, and have clients sign out."""

    type = "wrong-password"
    title = "Your password is needed for this, and this is not it"


class NoPasswordError(WrongPasswordError):
    """An account that only another place's tokens open."""

    title = "This needs a password, and your account has none: POST /auth/forgot-password sets one"
