"""Which operations a service lets anybody call."""

from typing import Any

import httpx

from kpi_shared.errors import PROBLEM_MEDIA_TYPE

_METHODS = {"get", "put", "post", "delete", "patch", "options", "head", "trace"}


def operations(document: dict[str, Any]) -> set[str]:
    """Every operation of an OpenAPI document, as ``GET /path``."""
    paths: dict[str, dict[str, Any]] = document["paths"]
    return {f"{method.upper()} {path}" for path, item in paths.items() for method in item if method in _METHODS}


async def public_operations(
    client: httpx.AsyncClient, document: dict[str, Any], *, path: dict[str, int], body: dict[str, object]
) -> set[str]:
    """The operations that do not ask for a token, found out by calling each without one.

    What the document says does not tell: an operation that reads a token if there is one looks protected in it.
    ``path`` and ``body`` are what the operations need to get past their own checks.
    """
    found = set()
    for operation in operations(document):
        method, _, address = operation.partition(" ")
        answer = await client.request(method, address.format(**path), json=body)
        # What is not JSON is a page for people.
        is_problem = answer.headers.get("content-type") == PROBLEM_MEDIA_TYPE
        if not (is_problem and answer.json()["type"] == "unauthenticated"):
            found.add(operation)
    return found
