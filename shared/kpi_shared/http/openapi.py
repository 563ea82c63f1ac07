"""Problem documents in OpenAPI, which the framework's own document does not describe."""

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


def install_openapi(app: FastAPI) -> None:
    """Complete the document: the Problem schema, to which ``problems`` refers, and the formats of integers."""
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
        return document

    app.openapi = generate_with_problems  # type: ignore[method-assign]


_INT64 = range(-(2**63), 2**63)
_INT32_MAX = 2**31 - 1
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def _describe_integers(node: Any) -> None:  # noqa: ANN401 JSON
    """Give each integer its format, and integers as bounds: the framework makes them floats, which round 2**63 - 1."""
    if isinstance(node, list):
        for item in node:
            _describe_integers(item)
    elif isinstance(node, dict):
        if node.get("type") == "integer" and "enum" not in node:
            for bound in _BOUNDS:
                if isinstance(node.get(bound), (int, float)):
                    node[bound] = min(max(int(node[bound]), _INT64.start), _INT64.stop - 1)
            node.setdefault("format", "int32" if node.get("maximum", _INT64.stop) <= _INT32_MAX else "int64")
        for item in node.values():
            _describe_integers(item)
