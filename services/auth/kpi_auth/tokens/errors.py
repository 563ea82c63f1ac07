"""Errors about refresh tokens and API keys."""

from kpi_shared.errors import ProblemError

CHALLENGE = {"WWW-Authenticate": 'Bearer realm="kpi-one"'}


class InvalidRefreshTokenError(ProblemError):
    """The same for a token that is unknown, already used, or of a session that has ended."""

    status = 401
    type = "invalid-refresh-token"
    title = "This refresh token is not valid; sign in again"

    def __init__(self) -> None:
        super().__init__(headers=CHALLENGE)


class InvalidKeyError(ProblemError):
    """The same for a key that is mistyped, unknown, deleted, deactivated or expired, or whose owner is closed."""

    status = 401
    type = "invalid-api-key"
    title = "This API key is not valid"

    def __init__(self) -> None:
        super().__init__(headers={"WWW-Authenticate": 'Bearer realm="kpi-one", error="invalid_token"'})
