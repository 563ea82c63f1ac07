"""What can be wrong with a refresh token."""

from kpi_shared.errors import ProblemError

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="kpi-one"'}


class InvalidRefreshTokenError(ProblemError):
    """The same for one that never was, was used, or belongs to an ended session: signing in again helps."""

    status = 401
    type = "invalid-refresh-token"
    title = "This refresh token is not valid; sign in again"

    def __init__(self) -> None:
        super().__init__(headers=CHALLENGE)
