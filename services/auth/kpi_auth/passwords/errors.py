"""Errors about passwords."""

from kpi_shared.errors import ForbiddenError, InvalidRequestError, ProblemError


class NewPasswordRefusedError(InvalidRequestError):
    """A new password is not acceptable for a reason that the schema cannot check."""

    def __init__(self, reason: str, *, kind: str) -> None:
        pointer, detail = "#/body/new_password", f"The password {reason}"
        super().__init__(f"{pointer}: {detail}", errors=[{"pointer": pointer, "detail": detail, "type": kind}])


class PasswordChangedMeanwhileError(ProblemError):
    """Of two simultaneous changes, the first one wins."""

    status = 409
    type = "password-changed-meanwhile"
    title = "The password was changed by another request"


class WrongPasswordError(ForbiddenError):
    """403, since 401 would mean an invalid access token, and clients would sign out."""

    type = "wrong-password"
    title = "The current password is wrong"


class NoPasswordError(WrongPasswordError):
    """The account has no password; only tokens of an identity provider sign in to it."""

    title = "This account has no password; set one with POST /auth/forgot-password"
