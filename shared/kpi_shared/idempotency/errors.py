"""The errors of requests with an Idempotency-Key."""

from http import HTTPStatus

from kpi_shared.errors import InvalidRequestError, ProblemError


class MalformedKeyError(ProblemError):
    status = HTTPStatus.BAD_REQUEST
    type = "malformed-idempotency-key"
    title = "Idempotency-Key must be one value of 1 to 255 visible ASCII characters"


class RequestInFlightError(ProblemError):
    """The draft, section 2.6: a request with this key has not ended yet."""

    status = HTTPStatus.CONFLICT
    type = "request-in-flight"
    title = "Another request with this Idempotency-Key is being processed"

    def __init__(self) -> None:
        super().__init__(headers={"Retry-After": "1"})


class KeyReusedError(ProblemError):
    """The draft, section 2.6: the key belongs to another request."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    type = "idempotency-key-reused"
    title = "This Idempotency-Key was used for another request"


# For the ``problems`` of a route that creates. The errors of validation have the same status as a reused key.
RETRY_ERRORS = (RequestInFlightError, InvalidRequestError, KeyReusedError)
