"""What can go wrong with a request. No text of an error has a path, a query, a header or a body in it."""

from http import HTTPStatus

from kpi_kit.errors import DriverUnavailableError, KitError
from kpi_kit.http.messages import Problem, Request, Response, read_problem


class HttpError(KitError):
    """The base. ``status`` is None where there is no response.

    ``is_outage``: whether it says that the other side does not work at present, which the circuit counts; None if it
    says nothing of the other side. ``retry_after``: in how many seconds a request may succeed, where that is known.
    """

    status: int | None = None
    is_outage: bool | None = False
    retry_after: float | None = None

    def __init__(self, request: Request, text: str) -> None:
        super().__init__(f"{request.method} {request.host}: {text}")
        self.method = request.method
        self.host = request.host


class ConnectionFailedError(HttpError, DriverUnavailableError):
    """No connection, or one that ended or broke before the response was complete. The request may have been handled."""

    is_outage = True


class HttpTimeoutError(HttpError, DriverUnavailableError, TimeoutError):
    """No response, or none that was complete, in time. The request may have been handled."""

    is_outage = True


class NoFreeConnectionError(HttpError, DriverUnavailableError):
    """All connections of this client were in use for too long. The request was not sent."""

    is_outage = None


class CircuitOpenError(HttpError, DriverUnavailableError):
    """The request was not sent: too many before it failed."""

    is_outage = None

    def __init__(self, request: Request, retry_after: float) -> None:
        super().__init__(request, f"not sent, the last requests all failed; the next may go in {retry_after:.1f} s")
        self.retry_after = retry_after


class StatusError(HttpError):
    """The response has a status from 400 on, or is a redirect that is not followed.

    ``response`` is the whole, ``problem`` what an ``application/problem+json`` body says.
    """

    status: int

    def __init__(self, request: Request, response: Response) -> None:
        super().__init__(request, _describe(response.status))
        self.status = response.status
        self.response = response

    @property
    def problem(self) -> Problem | None:
        return read_problem(self.response)


class UnavailableStatusError(StatusError, DriverUnavailableError):
    """408, 429, 502, 503 or 504: the same request may succeed later."""

    def __init__(self, request: Request, response: Response, retry_after: float | None) -> None:
        super().__init__(request, response)
        self.retry_after = retry_after
        self.is_outage = response.status >= HTTPStatus.INTERNAL_SERVER_ERROR


class RedirectError(StatusError):
    """A redirect that is not followed: to another origin, of another method than GET and HEAD, or one too many."""


class ResponseTooLargeError(HttpError):
    """The body of the response is larger than ``max_body_bytes``."""

    def __init__(self, request: Request, limit: int) -> None:
        super().__init__(request, f"the body of the response is larger than {limit} bytes")


class ResponseFormatError(HttpError):
    """The body is not what was asked for: no JSON, JSON of another form, or in a coding that is unknown or damaged."""


def _describe(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
