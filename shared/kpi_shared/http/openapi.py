"""What the framework's OpenAPI document lacks: problem documents as they are really sent."""

from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from kpi_shared.errors import PROBLEM_MEDIA_TYPE, InvalidRequestError, Problem, ProblemError, UnavailableError
from kpi_shared.http.middleware import BodyTooLargeError

Responses = dict[int | str, dict[str, Any]]
_REFERENCE = {"$ref": "#/components/schemas/Problem"}


def problems(*errors: type[ProblemError]) -> Responses:
    """The ``responses`` of a route that may raise these errors; those of one status share an entry."""
    answers: Responses = {}
    for error in errors:
        entry = answers.setdefault(int(error.status), {"content": {PROBLEM_MEDIA_TYPE: {"schema": _REFERENCE}}})
        entry["description"] = " / ".join(filter(None, [entry.get("description"), error.title]))
    return answers


# Every route can be sent a request that its description does not allow, or bytes that are none at all.
COMMON_PROBLEMS: Responses = {
    400: {
        "description": "The request cannot be read",
        "content": {PROBLEM_MEDIA_TYPE: {"schema": _REFERENCE}},
    },
    **problems(InvalidRequestError, BodyTooLargeError, UnavailableError),
}


def operation_id(route: APIRoute) -> str:
    """Operations are named after their functions, so that generated clients read well."""
    return route.name


def install_openapi(app: FastAPI) -> None:
    """Define the Problem schema that ``problems`` refers to."""
    generate = app.openapi

    def with_problems() -> dict[str, Any]:
        document = generate()
        if "Problem" in document.get("components", {}).get("schemas", {}):
            return document
        schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas |= schema.pop("$defs", {})
        schemas["Problem"] = schema
        return document

    app.openapi = with_problems  # type: ignore[method-assign]
