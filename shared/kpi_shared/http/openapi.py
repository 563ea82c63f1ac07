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
    """Add the Problem schema, to which ``problems`` refers, to the document."""
    generate = app.openapi

    def generate_with_problems() -> dict[str, Any]:
        document = generate()
        if "Problem" in document.get("components", {}).get("schemas", {}):
            return document
        schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas |= schema.pop("$defs", {})
        schemas["Problem"] = schema
        return document

    app.openapi = generate_with_problems  # type: ignore[method-assign]
