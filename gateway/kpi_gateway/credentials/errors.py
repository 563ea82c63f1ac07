"""Errors about the credentials of a request."""

from kpi_shared.errors import ForbiddenError, ProblemError, UnauthenticatedError, UnavailableError


class SeveralCredentialsError(ProblemError):
    status = 400
    type = "several-credentials"
    title = "A request must not have more than one credential"

    def __init__(self) -> None:
        super().__init__("Send either an API key or an access token, and one API key only")


class InvalidKeyError(UnauthenticatedError):
    """The same as auth's: for a key that is mistyped, unknown, deleted, deactivated or expired."""

    type = "invalid-api-key"
    title = "This API key is not valid"

    def __init__(self) -> None:
        super().__init__(invalid=True)


class KeysNotAcceptedError(UnauthenticatedError):
    """The gateway has no connection to auth's internal port."""

    type = "api-keys-not-accepted"
    title = "This installation accepts no API keys"

    def __init__(self) -> None:
        super().__init__(invalid=True)


class NetworkRefusedError(ForbiddenError):
    type = "network-not-allowed"
    title = "This API key may not be used from this address"


class ExchangeUnavailableError(UnavailableError):
    """Auth gave no response; a retry may succeed."""

    type = "api-keys-unavailable"
    title = "API keys cannot be checked at the moment"
