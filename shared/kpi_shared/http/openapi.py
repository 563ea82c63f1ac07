"""What the framework's OpenAPI document does not say: problem documents, headers, exact integers, optional tokens."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from kpi_shared.errors import (
    PROBLEM_MEDIA_TYPE,
    ForbiddenError,
    InvalidRequestError,
    Problem,
    ProblemError,
    UnavailableError,
)
from kpi_shared.http.media_types import UnsupportedMediaTypeError
from kpi_shared.http.middleware import BodyTooLargeError

Responses = dict[int | str, dict[str, Any]]
# Who may call an operation, in each operation of the document.
ACCESS = "x-access"


class Access(StrEnum):
    """Who may call an operation. The dependency that checks it has its name, so that the document says the same."""

    PUBLIC = "public"
    # Public, and an API key needs the scope ``write``.
    PUBLIC_WRITE = "public-write"
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"
    PERSON = "person"

    @property
    def scheme(self) -> str:
        """The name of its security scheme, which is replaced in the document: the framework has no other place."""
        return f"access {self.value}"


# The security scheme of operations that accept a token.
SCHEME = "password"
# At the gateway an API key is accepted instead of a token.
KEY_SCHEME = "apiKey"
_KEY_DEFINITION = {
    "type": "apiKey",
    "in": "header",
    "name": "X-API-Key",
    "description": "An API key, `kpi_live_...` or `kpi_test_...`. It may also be sent as a Bearer token.",
}
_REFERENCE = {"$ref": "#/components/schemas/Problem"}


def problems(*errors: type[ProblemError]) -> Responses:
    """The ``responses`` of a route that may raise these errors; errors with the same status share an entry."""
    responses: Responses = {}
    for error in errors:
        entry = responses.setdefault(int(error.status), {"content": {PROBLEM_MEDIA_TYPE: {"schema": _REFERENCE}}})
        entry["description"] = " / ".join(filter(None, [entry.get("description"), error.title]))
    return responses


# Any route may receive an invalid request.
COMMON_PROBLEMS: Responses = {
    400: {
        "description": "The request cannot be read",
        "content": {PROBLEM_MEDIA_TYPE: {"schema": _REFERENCE}},
    },
    **problems(InvalidRequestError, BodyTooLargeError, UnavailableError),
}


def operation_id(route: APIRoute) -> str:
    """Name operations after their functions, so that generated clients are readable."""
    return route.name


def describe_tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """The tags of a document, in the order in which readers see them."""
    return [{"name": name, "description": description} for name, description in tags.items()]


def install_openapi(app: FastAPI) -> None:
    """Complete the document of the framework, and add the Problem schema, to which ``problems`` refers."""
    generate = app.openapi

    def generate_with_problems() -> dict[str, Any]:
        document = generate()
        if "Problem" in document.get("components", {}).get("schemas", {}):
            return document
        schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas |= schema.pop("$defs", {})
        schemas["Problem"] = schema
        _describe_integers(document)
        _replace_schemes(document["components"].get("securitySchemes", {}))
        for operation in operations(document["paths"]):
            operation[ACCESS] = _access(operation)
            _complete_security(operation)
            _describe_missing_scope(operation)
            _describe_optional_body(operation)
            _describe_unsupported_bodies(operation)
            _describe_headers(operation)
        return document

    app.openapi = generate_with_problems  # type: ignore[method-assign]


_INT64 = range(-(2**63), 2**63)
_INT32_MAX = 2**31 - 1
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_NAMES_OF_BOUNDS = dict(zip(("ge", "le", "gt", "lt"), _BOUNDS, strict=True))


def _describe_integers(node: Any) -> None:  # noqa: ANN401 JSON
    """Give each integer its format, and integers as bounds: the framework makes them floats, which round 2**63 - 1."""
    if isinstance(node, list):
        for item in node:
            _describe_integers(item)
    elif isinstance(node, dict):
        if node.get("type") == "integer" and "enum" not in node:
            _describe_integer(node)
        for item in node.values():
            _describe_integers(item)


def _describe_integer(schema: dict[str, Any]) -> None:
    # The names of pydantic, where a validator stands between the type and its bounds.
    for ours, standard in _NAMES_OF_BOUNDS.items():
        if ours in schema:
            schema[standard] = schema.pop(ours)
    for bound in _BOUNDS:
        if isinstance(schema.get(bound), (int, float)):
            schema[bound] = min(max(int(schema[bound]), _INT64.start), _INT64.stop - 1)
    schema.setdefault("format", "int32" if schema.get("maximum", _INT64.stop) <= _INT32_MAX else "int64")


METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})


def operations(paths: Mapping[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """All operations of a document's paths."""
    for item in paths.values():
        for method, operation in item.items():
            if method in METHODS and isinstance(operation, dict):
                yield operation


def _replace_schemes(schemes: dict[str, Any]) -> None:
    for access in Access:
        ours = schemes.pop(access.scheme, None)
        if ours is not None:
            schemes.setdefault(SCHEME, ours)
    if SCHEME in schemes:
        schemes[KEY_SCHEME] = _KEY_DEFINITION


# For ``openapi_extra`` of a route that takes an optional token but is meant for clients without one: some generators
# demand a token of the caller wherever one is mentioned.
ANONYMOUS: dict[str, Any] = {"security": [{}]}


# From the one that admits most callers to the one that admits fewest.
_ORDER = (Access.PUBLIC, Access.PUBLIC_WRITE, Access.READ, Access.WRITE, Access.ADMIN, Access.PERSON)


def _scheme_names(operation: Mapping[str, Any]) -> set[str]:
    return {name for requirement in operation.get("security", ()) for name in requirement}


def _access(operation: Mapping[str, Any]) -> Access:
    """The strictest of the rights that its dependencies demand; without any of them it is public."""
    names = _scheme_names(operation)
    found = [access for access in _ORDER if access.scheme in names]
    return found[-1] if found else Access.PUBLIC


def _complete_security(operation: dict[str, Any]) -> None:
    """A key is an alternative to a token, except where a person is required.

    OpenAPI 3.1, 4.8.30: an empty requirement says that the operation also works without either. A route that names it
    itself (``ANONYMOUS``) is documented without a token at all.
    """
    is_public = operation[ACCESS] in {Access.PUBLIC, Access.PUBLIC_WRITE}
    if operation[ACCESS] is Access.PERSON:
        operation["security"] = [{SCHEME: []}]
    elif is_public and {} in operation.get("security", ()):
        operation["security"] = []
    elif _scheme_names(operation):
        anonymous: list[dict[str, Any]] = [{}] if is_public else []
        operation["security"] = [*anonymous, {SCHEME: []}, {KEY_SCHEME: []}]


def _describe_missing_scope(operation: dict[str, Any]) -> None:
    if {KEY_SCHEME: []} in operation.get("security", ()) or operation.get("security") == [{SCHEME: []}]:
        for status, response in problems(ForbiddenError).items():
            operation["responses"].setdefault(str(status), response)


def _describe_optional_body(operation: dict[str, Any]) -> None:
    """Describe a body that may be absent as such: an alternative to null would be the JSON text ``null``."""
    for media_type in operation.get("requestBody", {}).get("content", {}).values():
        alternatives = media_type["schema"].get("anyOf", ())
        if {"type": "null"} in alternatives:
            (media_type["schema"],) = (it for it in alternatives if it != {"type": "null"})


def _describe_unsupported_bodies(operation: dict[str, Any]) -> None:
    if "requestBody" in operation:
        for status, response in problems(UnsupportedMediaTypeError).items():
            operation["responses"].setdefault(str(status), response)


def _header(description: str, example: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}, "example": example}


_CHALLENGE = {"WWW-Authenticate": _header("How to authenticate (RFC 6750)", 'Bearer realm="kpi-one"')}
_LOCATION = {"Location": _header("The address of the new resource", "/posts/1")}
_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds to wait before the request is sent again",
        "schema": {"type": "integer", "minimum": 0, "format": "int64"},
    }
}
_BY_STATUS = {"201": _LOCATION, "401": _CHALLENGE, "429": _RETRY_AFTER, "503": _RETRY_AFTER}
_REPLAYED = {
    "Idempotency-Replayed": {
        "description": "`true` if this is the stored response to an earlier request with the same Idempotency-Key",
        "schema": {"type": "string", "enum": ["true"]},
    }
}
_ETAG = {"ETag": _header("The entity tag of this version, for If-Match and If-None-Match", '"3-1"')}


def _describe_headers(operation: dict[str, Any]) -> None:
    """The headers of responses, except those that the gateway adds to every one."""
    sent = {item["name"].lower() for item in operation.get("parameters", ())}
    conditional = not sent.isdisjoint({"if-none-match", "if-match"})
    for status, response in operation["responses"].items():
        headers = _BY_STATUS.get(status, {}) | response.get("headers", {})
        if status in {"200", "304", "412"} and conditional:
            headers = _ETAG | headers
        if "idempotency-key" in sent:
            headers = _headers_of_retries(status) | headers
        if headers:
            response["headers"] = headers


def _headers_of_retries(status: str) -> dict[str, Any]:
    return _REPLAYED if status.startswith("2") else _RETRY_AFTER if status == "409" else {}
