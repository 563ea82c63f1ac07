"""Which operations a service lets anybody call."""

from collections.abc import Iterable
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
    answers = {name: await _call(client, name, path=path, body=body) for name in operations(document)}
    return {name for name, answer in answers.items() if _problem_type(answer) != "unauthenticated"}


async def admin_operations(
    client: httpx.AsyncClient, names: Iterable[str], *, path: dict[str, int], headers: dict[str, str]
) -> set[str]:
    """Those of the operations that somebody who is signed in, and no admin, is forbidden whatever they send."""
    answers = {name: await _call(client, name, path=path, body={}, headers=headers) for name in names}
    assert "unauthenticated" not in {_problem_type(answer) for answer in answers.values()}
    return {name for name, answer in answers.items() if _problem_type(answer) == "forbidden"}


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


def _problem_type(answer: httpx.Response) -> str | None:
    # What is not JSON is a page for people.
    is_problem = answer.headers.get("content-type") == PROBLEM_MEDIA_TYPE
    return str(answer.json()["type"]) if is_problem else None
