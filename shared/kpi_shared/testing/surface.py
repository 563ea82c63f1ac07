"""The operations of a service that are public, and those for admins only."""

from collections.abc import Iterable
from typing import Any

import httpx

from kpi_shared.errors import PROBLEM_MEDIA_TYPE

_METHODS = {"get", "put", "post", "delete", "patch", "options", "head", "trace"}


def operations(document: dict[str, Any]) -> set[str]:
    """All operations of an OpenAPI document, as ``GET /path``."""
    paths: dict[str, dict[str, Any]] = document["paths"]
    return {f"{method.upper()} {path}" for path, item in paths.items() for method in item if method in _METHODS}


async def public_operations(
    client: httpx.AsyncClient, document: dict[str, Any], *, path: dict[str, int], body: dict[str, object]
) -> set[str]:
    """The operations that require no token, determined by calling each one without a token.

    The document does not show it: an operation with an optional token looks protected there. ``path`` and ``body``
    are the values that the operations need for their validation.
    """
    responses = {name: await _call(client, name, path=path, body=body) for name in operations(document)}
    return {name for name, response in responses.items() if _problem_type(response) != "unauthenticated"}


async def admin_operations(
    client: httpx.AsyncClient, names: Iterable[str], *, path: dict[str, int], headers: dict[str, str]
) -> set[str]:
    """Those operations that are forbidden for a signed-in user who is not an admin, whatever the request is."""
    responses = {name: await _call(client, name, path=path, body={}, headers=headers) for name in names}
    assert "unauthenticated" not in {_problem_type(response) for response in responses.values()}
    return {name for name, response in responses.items() if _problem_type(response) == "forbidden"}


async def _call(
    client: httpx.AsyncClient,
    name: str,
    *,
    path: dict[str, int],
    body: dict[str, object],
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    method, _, address = name.partition(" ")
    return await client.request(method, address.format(**path), json=body, headers=headers)


def _problem_type(response: httpx.Response) -> str | None:
    # Pages are HTML.
    is_problem = response.headers.get("content-type") == PROBLEM_MEDIA_TYPE
    return str(response.json()["type"]) if is_problem else None
