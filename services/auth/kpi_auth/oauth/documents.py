"""The OpenAPI description of OAuth2 endpoints, which the framework cannot derive: it does not read their bodies."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from kpi_shared.errors import Problem, ProblemError
from kpi_shared.http.media_types import ALSO_ACCEPTED, FORM
from kpi_shared.http.openapi import COMMON_PROBLEMS, Responses, problems
from pydantic import BaseModel

from kpi_auth.oauth.bodies import JSON

_PREFIX = "#/components/schemas/"
# In words only: many generators cannot handle an operation with two media types.
_JSON = "A JSON object with the same members is accepted too."


_PROBLEM = "OAuthProblem"
_ERROR_CODES = [
    "invalid_request",
    "invalid_grant",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_target",
    "temporarily_unavailable",
]


def oauth_problems(*errors: type[ProblemError]) -> Responses:
    """The ``responses`` of a token endpoint, those that any route has included."""
    replaced: Responses = _replace(COMMON_PROBLEMS | problems(*errors))
    return replaced


def form_body(schema: str, *, example: Mapping[str, str], takes_json: bool = True) -> dict[str, Any]:
    """The ``openapi_extra`` of a route that reads a form with the named schema."""
    content = {FORM: {"schema": reference(schema), "example": dict(example)}}
    also = {"description": _JSON, ALSO_ACCEPTED: [JSON]} if takes_json else {}
    return {"requestBody": {"required": True, **also, "content": content}}


def reference(schema: str) -> dict[str, str]:
    return {"$ref": _PREFIX + schema}


def form_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The schema of a form: what is optional can be left out, and cannot be null."""
    schema = model.model_json_schema(ref_template=_PREFIX + "{model}")
    properties = {name: _without_null(value) for name, value in schema["properties"].items()}
    return {**schema, "properties": properties}


def add_schemas(app: FastAPI, schemas: Mapping[str, Mapping[str, Any]]) -> None:
    """Add named schemas to the document, OAuthProblem included."""
    generate = app.openapi

    def generate_with_schemas() -> dict[str, Any]:
        document = generate()
        components = document["components"]["schemas"]
        for name, schema in {**schemas, _PROBLEM: _oauth_problem(components[Problem.__name__])}.items():
            components |= schema.get("$defs", {})
            components[name] = {key: value for key, value in schema.items() if key != "$defs"}
        return document

    app.openapi = generate_with_schemas  # type: ignore[method-assign]


def _oauth_problem(problem: dict[str, Any]) -> dict[str, Any]:
    return {
        **problem,
        "title": _PROBLEM,
        "description": "A problem document that is also an error response of RFC 6749, section 5.2.",
        "properties": {**problem["properties"], "error": {"type": "string", "title": "Error", "enum": _ERROR_CODES}},
        "required": [*problem["required"], "error"],
    }


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    kinds = [kind for kind in schema.get("anyOf", ()) if kind.get("type") != "null"]
    if len(kinds) != 1:
        return schema
    rest = {key: value for key, value in schema.items() if key not in {"anyOf", "default"}}
    return {**rest, **kinds[0]}


def _replace(node: Any) -> Any:  # noqa: ANN401 any JSON value
    """A copy that refers to OAuthProblem in place of Problem."""
    if isinstance(node, dict):
        return {key: _replace(value) for key, value in node.items()}
    return _PREFIX + _PROBLEM if node == _PREFIX + Problem.__name__ else node
