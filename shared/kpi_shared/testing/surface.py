"""The operations of a service: which are public, which for admins only, and what holds for each method and path."""

from collections.abc import Iterable
from typing import Any

import httpx
from sqlalchemy import text

from kpi_shared.database import Database
from kpi_shared.errors import HAS_EFFECTS, PROBLEM_MEDIA_TYPE

_METHODS = {"get", "put", "post", "delete", "patch", "options", "head", "trace"}


class Ids(dict[str, object]):
    """The values of the parameters of paths; one that is not named is 1."""

    def __missing__(self, name: str) -> object:
        return 1


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


def operations_with_effects(document: dict[str, Any]) -> set[str]:
    """The GETs that are not run for HEAD."""
    paths: dict[str, dict[str, Any]] = document["paths"]
    return {f"GET {path}" for path, item in paths.items() if item.get("get", {}).get(HAS_EFFECTS)}


async def differences_with_slash(
    client: httpx.AsyncClient, document: dict[str, Any], *, path: dict[str, int], headers: dict[str, str]
) -> list[str]:
    """Where a slash at the end of the path makes a difference.

    Only reads are sent with ``headers``; other operations are called without a token and, as OPTIONS, for their route.
    """
    different = []
    for name in operations(document):
        method, _, address = name.partition(" ")
        sent = headers if method == "GET" else {}
        for sent_method in {method, "OPTIONS"}:
            without = await _call(client, f"{sent_method} {address}", path=path, body={}, headers=sent)
            with_slash = await _call(client, f"{sent_method} {address}/", path=path, body={}, headers=sent)
            if _essence(without) != _essence(with_slash):
                different.append(f"{sent_method} {address}: {_essence(without)}, with a slash {_essence(with_slash)}")
    return different


def _essence(response: httpx.Response) -> tuple[int, str | None, str | None, str | None]:
    names = ("content-type", "allow", "location")
    kind, allow, location = (response.headers.get(name) for name in names)
    return response.status_code, _problem_type(response) or kind, allow, location


async def unexpected_heads(
    client: httpx.AsyncClient, document: dict[str, Any], *, path: dict[str, int], headers: dict[str, str]
) -> list[str]:
    """Where HEAD is not answered as GET, or Allow does not list it wherever it is supported, and nowhere else."""
    unexpected = []
    with_effects = operations_with_effects(document)
    for address, item in document["paths"].items():
        runs_head = "get" in item and f"GET {address}" not in with_effects
        allow = ", ".join(sorted([method.upper() for method in item] + ["HEAD"] * runs_head))
        for method, status in (("OPTIONS", httpx.codes.NO_CONTENT), ("TRACE", httpx.codes.METHOD_NOT_ALLOWED)):
            response = await _call(client, f"{method} {address}", path=path, body={}, headers=headers)
            if (response.status_code, response.headers.get("allow")) != (status, allow):
                unexpected.append(f"{method} {address}: {response.status_code}, {response.headers.get('allow')}")
        head = await _call(client, f"HEAD {address}", path=path, body={}, headers=headers)
        expected = int(httpx.codes.METHOD_NOT_ALLOWED)
        if runs_head:
            expected = (await _call(client, f"GET {address}", path=path, body={}, headers=headers)).status_code
        if head.status_code != expected or (not runs_head and head.headers.get("allow") != allow):
            unexpected.append(f"HEAD {address}: {head.status_code} instead of {expected}")
    return unexpected


# The changes of the transaction of the test. It is its only one, because its end rolls it back.
_COUNT_CHANGES = text("SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_xact_user_tables")


async def reads_that_write(
    client: httpx.AsyncClient,
    database: Database,
    document: dict[str, Any],
    *,
    path: dict[str, int],
    headers: dict[str, str],
) -> set[str]:
    """The GETs that change a row, determined by calling each one, without a token and with ``headers``."""
    found = set()
    for name in operations(document):
        if not name.startswith("GET "):
            continue
        before = await _count_changes(database)
        for sent in ({}, headers):
            await _call(client, name, path=path, body={}, headers=sent)
        if await _count_changes(database) != before:
            found.add(name)
    return found


async def _count_changes(database: Database) -> int:
    async with database.reading() as connection:
        return int(await connection.scalar(_COUNT_CHANGES) or 0)


async def _call(
    client: httpx.AsyncClient,
    name: str,
    *,
    path: dict[str, int],
    body: dict[str, object],
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    method, _, address = name.partition(" ")
    url = address.format_map(Ids(path))
    response = await client.request(method, url, json=body, headers=headers)
    if response.status_code == httpx.codes.UNSUPPORTED_MEDIA_TYPE:
        # An upload: an image, for example.
        sent = {**(headers or {}), "Content-Type": response.headers["Accept"].partition(",")[0]}
        response = await client.request(method, url, content=b"", headers=sent)
    return response


def _problem_type(response: httpx.Response) -> str | None:
    # Pages are HTML.
    is_problem = response.headers.get("content-type") == PROBLEM_MEDIA_TYPE
    return str(response.json()["type"]) if is_problem else None
