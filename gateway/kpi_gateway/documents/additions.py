"""What the gateway adds to operations in the merged document: its own errors, and the header fields of responses."""

from collections.abc import Iterable, Mapping
from typing import Any

from kpi_shared.errors import ProblemError
from kpi_shared.http.openapi import ACCESS, KEY_SCHEME, Access, problems

from kpi_gateway.credentials.errors import (
    ExchangeUnavailableError,
    InvalidKeyError,
    NetworkRefusedError,
    SeveralCredentialsError,
)
from kpi_gateway.documents.renaming import Json
from kpi_gateway.downstream import STREAM_TYPES, SlowUploadError
from kpi_gateway.limits.service import TooManyRequestsError
from kpi_gateway.paths import InvalidPathError
from kpi_gateway.upstream.contract import (
    UpstreamBusyError,
    UpstreamError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)
from kpi_gateway.upstream.streams import EVENT_STREAM, StreamsBusyError

_IDENTIFIED = ("X-Request-ID", "X-Response-Time")
_LIMITED = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "RateLimit-Policy", "RateLimit")
_RETRIED = ("Retry-After",)
_KEY_ERRORS = (SeveralCredentialsError, InvalidKeyError, NetworkRefusedError, ExchangeUnavailableError)
_UPSTREAM_ERRORS = (UpstreamError, UpstreamUnreachableError, UpstreamBusyError, UpstreamTimeoutError)
# Media types: of a body that may be a stream, and of a response that is one.
_UPLOADS = frozenset(media_type.decode() for media_type in STREAM_TYPES)
_EVENTS = EVENT_STREAM.decode()


_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "format": "int64", "minimum": 0}


def _header(description: str, schema: Json, example: str | float) -> Json:
    return {"description": description, "schema": schema, "example": example}


# The components to which the operations refer.
HEADERS: Mapping[str, Json] = {
    "X-Request-ID": _header("The id of the request, which is also in the logs", _TEXT, "5f2b6c1de0a94b7d"),
    "X-Response-Time": _header("Time until the response started, in milliseconds", {"type": "number"}, 12.34),
    "X-RateLimit-Limit": _header("The quota of the policy with the fewest requests left", _COUNT, 1000),
    "X-RateLimit-Remaining": _header("How many requests of that quota are left", _COUNT, 999),
    "X-RateLimit-Reset": _header("Seconds until more requests become available", _COUNT, 60),
    "RateLimit-Policy": _header("The quota of each policy, and its window in seconds", _TEXT, '"address";q=1000;w=60'),
    "RateLimit": _header(
        "For each policy: requests left, and seconds until more become available", _TEXT, '"address";r=999;t=60'
    ),
    "Retry-After": _header("Seconds to wait before the request is sent again", _COUNT, 1),
}


def complete_forwarded(operation: Json) -> None:
    """Add the errors that the gateway may respond with instead of the service, and header fields."""
    _add_responses(operation, (InvalidPathError, TooManyRequestsError, *_UPSTREAM_ERRORS))
    if "requestBody" in operation:
        _add_responses(operation, [SlowUploadError])
    if _has_stream(operation):
        _add_responses(operation, [StreamsBusyError])
    if any(KEY_SCHEME in requirement for requirement in operation["security"]):
        _add_responses(operation, _KEY_ERRORS)
    _add_headers(operation, limited=True)


def complete_own(operation: Json, *, limited: bool) -> None:
    """The same for a page of the gateway itself, which is public; those for health checks have no rate limit."""
    operation["security"] = []
    operation[ACCESS] = Access.PUBLIC
    _add_responses(operation, [InvalidPathError, *([TooManyRequestsError] if limited else [])])
    _add_headers(operation, limited=limited)


def _has_stream(operation: Json) -> bool:
    """Whether its body or its response may be a stream, by their media types."""
    uploads = operation.get("requestBody", {}).get("content", {})
    responses = [response.get("content", {}) for response in operation["responses"].values()]
    return not _UPLOADS.isdisjoint(uploads) or any(_EVENTS in content for content in responses)


def _add_responses(operation: Json, errors: Iterable[type[ProblemError]]) -> None:
    responses = operation.setdefault("responses", {})
    for status, response in problems(*errors).items():
        known = responses.setdefault(str(status), response)
        if "$ref" in known:
            continue
        titles = known.get("description", "").split(" / ")
        titles += [title for title in response["description"].split(" / ") if title not in titles]
        responses[str(status)] = known | {"description": " / ".join(filter(None, titles))}


def _add_headers(operation: Json, *, limited: bool) -> None:
    """Refer to the header fields of each response, unless the service describes them itself."""
    for status, response in operation.get("responses", {}).items():
        names = list(_IDENTIFIED)
        if limited and (status < "4" or status == "429"):
            names += _LIMITED
        if status in {"429", "502", "503", "504"}:
            names += _RETRIED
        if "$ref" not in response:
            response["headers"] = _complete(response.get("headers", {}), names)


def _complete(headers: Mapping[str, Any], names: Iterable[str]) -> Json:
    known = {name.lower() for name in headers}
    missing = [name for name in names if name.lower() not in known]
    return {**headers, **{name: {"$ref": f"#/components/headers/{name}"} for name in missing}}
