"""Errors about signing in and about sessions."""

from kpi_shared.errors import ProblemError

from kpi_auth.tokens.errors import CHALLENGE


class InvalidCredentialsError(ProblemError):
    """The same for an unknown name, a wrong password and an account that may not sign in."""

    status = 401
    type = "invalid-credentials"
    title = "The username, e-mail address or password is wrong"

    def __init__(self) -> None:
        super().__init__(headers=CHALLENGE)


class SessionNotFoundError(ProblemError):
    status = 404
    type = "session-not-found"
    title = "There is no such session"
