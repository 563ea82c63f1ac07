"""The header fields that callers give."""

import re
from base64 import b64encode
from collections.abc import Mapping

from pydantic import SecretStr

from kpi_kit.http.invalid import HttpValueError

# RFC 9110, section 5.6.2.
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
# The driver writes them itself; a second one would make two messages of one (request smuggling).
_FRAMING = frozenset({"connection", "content-length", "host", "te", "trailer", "transfer-encoding", "upgrade"})


def normalize(headers: Mapping[str, str]) -> dict[str, str]:
    """With names in lower case; HttpValueError for what is no valid field, or not the caller's to set."""
    found = {name.lower(): value for name, value in headers.items()}
    for name, value in found.items():
        if not _NAME.fullmatch(name) or name in _FRAMING:
            raise HttpValueError(f"not a header field that can be set: {name!r}")
        if not value.isascii() or not value.replace("\t", " ").isprintable():
            raise HttpValueError(f"the value of the header field {name} has characters that are not printable ASCII")
    return found


def normalize_shared(headers: Mapping[str, str]) -> dict[str, str]:
    """The same for fields of several requests, without the one that would make each POST repeatable."""
    found = normalize(headers)
    if "idempotency-key" in found:
        raise HttpValueError("an Idempotency-Key belongs to one request: give it as idempotency_key")
    return found


def check_method(method: str) -> str:
    """In capitals; HttpValueError for what is no method."""
    if not method.isascii() or not _NAME.fullmatch(method.lower()):
        raise HttpValueError("the method is not one of HTTP, such as GET")
    return method.upper()


def bearer(token: str | SecretStr) -> dict[str, str]:
    return normalize({"authorization": f"Bearer {_reveal(token)}"})


def basic(username: str, password: str | SecretStr) -> dict[str, str]:
    """RFC 7617, in UTF-8."""
    if ":" in username:
        raise HttpValueError("a user name of basic authentication must have no colon (RFC 7617)")
    pair = f"{username}:{_reveal(password)}".encode()
    return {"authorization": f"Basic {b64encode(pair).decode('ascii')}"}


def _reveal(value: str | SecretStr) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else value
