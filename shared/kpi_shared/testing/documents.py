"""What each OpenAPI document of the platform has to say, whatever its operations are."""

from collections.abc import Iterator
from typing import Any

_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_PROMISED = {"401": "WWW-Authenticate", "201": "Location"}


def find_gaps(document: dict[str, Any]) -> list[str]:
    """What is missing: formats and bounds of integers, descriptions of tags, headers of responses, 415 for bodies."""
    tags = {tag["name"] for tag in document["tags"] if tag["description"]}
    gaps = [f"{place}: an integer without format or with bounds that are none" for place in _vague_integers(document)]
    for path, item in document["paths"].items():
        for method, operation in item.items():
            gaps += [f"{method} {path}: {gap}" for gap in _gaps_of_operation(operation, tags)]
    return gaps


def security_of(document: dict[str, Any]) -> dict[str, Any]:
    """The security requirements of each operation that has any, by ``METHOD /path``."""
    return {
        f"{method.upper()} {path}": operation["security"]
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if operation.get("security")
    }


def _gaps_of_operation(operation: dict[str, Any], tags: set[str]) -> Iterator[str]:
    yield from (f"tag {tag} has no description" for tag in operation["tags"] if tag not in tags)
    if "requestBody" in operation and "415" not in operation["responses"]:
        yield "no 415"
    for status, response in operation["responses"].items():
        if status in _PROMISED and _PROMISED[status] not in response.get("headers", {}):
            yield f"{status} without {_PROMISED[status]}"
    conditional = any(item["name"] in {"If-Match", "If-None-Match"} for item in operation.get("parameters", ()))
    if conditional and "200" in operation["responses"] and "ETag" not in operation["responses"]["200"]["headers"]:
        yield "200 without ETag"


def _vague_integers(node: Any, place: str = "#") -> Iterator[str]:  # noqa: ANN401 JSON
    if isinstance(node, list):
        for number, item in enumerate(node):
            yield from _vague_integers(item, f"{place}/{number}")
    elif isinstance(node, dict):
        if node.get("type") == "integer" and "enum" not in node:
            bounds = [node[name] for name in _BOUNDS if name in node]
            misnamed = {"ge", "le", "gt", "lt"} & node.keys()
            if "format" not in node or misnamed or any(type(bound) is not int for bound in bounds):
                yield place
        for name, item in node.items():
            yield from _vague_integers(item, f"{place}/{name}")
