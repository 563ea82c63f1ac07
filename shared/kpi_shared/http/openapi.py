"""Problem documents in OpenAPI, which the framework's own document does not describe."""

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from kpi_shared.errors import PROBLEM_MEDIA_TYPE, InvalidRequestError, Problem, ProblemError, UnavailableError
from kpi_shared.http.middleware import BodyTooLargeError

Responses = dict[int | str, dict[str, Any]]
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
    """Complete the document: the Problem schema, to which ``problems`` refers, and what the framework leaves out."""
    generate = app.openapi

    def generate_complete() -> dict[str, Any]:
        document = generate()
        if "Problem" in document.get("components", {}).get("schemas", {}):
            return document
        schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        components = document.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        schemas |= schema.pop("$defs", {})
        schemas["Problem"] = schema
        _describe_integers(document)
        _merge_schemes(components.get("securitySchemes", {}))
        for operation in operations(document["paths"]):
            _describe_security(operation)
            _describe_headers(operation["responses"])
        return document

    app.openapi = generate_complete  # type: ignore[method-assign]


def operations(paths: Mapping[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """All operations of a document's paths."""
    for item in paths.values():
        for method, operation in item.items():
            if method in _METHODS and isinstance(operation, dict):
                yield operation


# The names of the security scheme where a token is required and where it is optional. The document has the first alone.
REQUIRED_TOKEN = "password"  # noqa: S105 a name
OPTIONAL_TOKEN = "optional-password"  # noqa: S105 as above
_METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})


def _merge_schemes(schemes: dict[str, Any]) -> None:
    if optional := schemes.pop(OPTIONAL_TOKEN, None):
        schemes.setdefault(REQUIRED_TOKEN, optional)


def _describe_security(operation: dict[str, Any]) -> None:
    """Name no token as an alternative where it is optional."""
    security = operation.get("security", [])
    optional = [it for it in security if OPTIONAL_TOKEN in it]
    if optional:
        required = [it for it in security if it not in optional]
        operation["security"] = required or [{}, {REQUIRED_TOKEN: optional[0][OPTIONAL_TOKEN]}]


_HEADERS = {
    "ETag": "The entity tag of the current version, for If-Match and If-None-Match",
    "Location": "The path of what was created",
    "Retry-After": "Seconds after which the request may be repeated",
    "WWW-Authenticate": "How to authenticate (RFC 6750)",
}
_BY_STATUS = {"201": "Location", "401": "WWW-Authenticate", "429": "Retry-After", "503": "Retry-After"}
_CONDITIONAL = frozenset({"304", "412"})


def _describe_headers(responses: dict[str, Any]) -> None:
    """Name the header fields that responses with a status have wherever they occur."""
    is_conditional = not _CONDITIONAL.isdisjoint(responses)
    for status, response in responses.items():
        names = [_BY_STATUS[status]] if status in _BY_STATUS else []
        if is_conditional and (status == "200" or status in _CONDITIONAL):
            names.append("ETag")
        if names:
            headers = {name: _describe_header(name) for name in names}
            response["headers"] = headers | response.get("headers", {})


def _describe_header(name: str) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": 0} if name == "Retry-After" else {"type": "string"}
    return {"description": _HEADERS[name], "schema": schema}


_INT64 = range(-(2**63), 2**63)
_INT32_MAX = 2**31 - 1
# By the names of pydantic, under which it leaves the bounds of a type with a validator.
_BOUNDS = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}


def _describe_integers(node: Any) -> None:  # noqa: ANN401 JSON
    """Give each integer its format, and integers as bounds: the framework makes them floats, which round 2**63 - 1."""
    if isinstance(node, list):
        for item in node:
            _describe_integers(item)
    elif isinstance(node, dict):
        if node.get("type") == "integer" and "enum" not in node:
            for name, bound in _BOUNDS.items():
                if name in node:
                    node[bound] = node.pop(name)
                if isinstance(node.get(bound), (int, float)):
                    node[bound] = min(max(int(node[bound]), _INT64.start), _INT64.stop - 1)
            node.setdefault("format", "int32" if node.get("maximum", _INT64.stop) <= _INT32_MAX else "int64")
        for item in node.values():
            _describe_integers(item)
