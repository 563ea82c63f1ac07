"""Requests to other services: JSON, deadlines, safe repetitions, and a stop where nothing responds."""

from kpi_kit.http.circuit import CircuitState
from kpi_kit.http.client import ContextHeaders, HttpClient, Options
from kpi_kit.http.contract import Transport
from kpi_kit.http.errors import (
    CircuitOpenError,
    ConnectionFailedError,
    HttpError,
    HttpTimeoutError,
    NoFreeConnectionError,
    RedirectError,
    ResponseFormatError,
    ResponseTooLargeError,
    StatusError,
    UnavailableStatusError,
)
from kpi_kit.http.fake import HttpFake
from kpi_kit.http.invalid import HttpValueError
from kpi_kit.http.limits import Limits
from kpi_kit.http.messages import Problem, Request, Response

__all__ = [
    "CircuitOpenError",
    "CircuitState",
    "ConnectionFailedError",
    "ContextHeaders",
    "HttpClient",
    "HttpError",
    "HttpFake",
    "HttpTimeoutError",
    "HttpValueError",
    "Limits",
    "NoFreeConnectionError",
    "Options",
    "Problem",
    "RedirectError",
    "Request",
    "Response",
    "ResponseFormatError",
    "ResponseTooLargeError",
    "StatusError",
    "Transport",
    "UnavailableStatusError",
]
