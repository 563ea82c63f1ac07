"""Errors about refresh tokens."""

from kpi_shared.errors import ProblemError

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="kpi-one"'}


class InvalidRefreshTokenError(ProblemError):
    """The same for a token that is unknown, already used, or of a session that has ended."""

    status = 401
    type = "invalid-refresh-token"
    title = "This refresh token is not valid; sign in again"

    def __init__(self) -> None:
        super().__init__(headers=CHALLENGE)
