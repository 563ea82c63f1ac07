"""The error codes that OAuth2 clients read."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

_TEMPORARY = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}


def error_code(status: int, errors: Sequence[Mapping[str, str]] | None) -> str:
    """The ``error`` of RFC 6749, section 5.2, for a problem at a token endpoint.

    It has no code for 429 and 503; ``temporarily_unavailable`` of section 4.1.2.1 has the right meaning.
    """
    if any(item["pointer"] == "#/body/grant_type" and item["type"] == "literal_error" for item in errors or ()):
        return "unsupported_grant_type"
    if status in _TEMPORARY:
        return "temporarily_unavailable"
    return "invalid_grant" if status == HTTPStatus.UNAUTHORIZED else "invalid_request"
