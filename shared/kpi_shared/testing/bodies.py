"""Every operation with a body, sent in media types and codings that it does not declare."""

from typing import Any

import httpx

from kpi_shared.http.media_types import ALSO_ACCEPTED, accepted_types

_OTHER = (
    *("text/plain", "text/xml", "application/octet-stream", "multipart/form-data; boundary=x", "application/jsonp"),
    *("application/json", "application/x-www-form-urlencoded"),
)
_BODY = b'{"a": 1}'


def operations_with_body(document: dict[str, Any]) -> dict[str, list[str]]:
    """The media types that each operation with a body accepts, by ``METHOD /path``."""
    return {
        f"{method.upper()} {path}": sorted(
            [*accepted_types(operation["requestBody"]), *operation["requestBody"].get(ALSO_ACCEPTED, ())]
        )
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if isinstance(operation, dict) and "requestBody" in operation
    }


def _list_wrong(accepted: list[str]) -> list[dict[str, str]]:
    """Header fields that do not fit; an upload that takes every type has none."""
    if "*/*" in accepted:
        return []
    undeclared = [name for name in _OTHER if name not in accepted]
    return [{}, *({"Content-Type": name} for name in (*undeclared, f"{accepted[0]}; charset=utf-16"))]


async def find_unexpected_responses(
    client: httpx.AsyncClient, document: dict[str, Any], headers: dict[str, str]
) -> list[str]:
    """Where a body of another media type, character encoding or content coding is not a 415 with its hints."""
    unexpected = []
    for operation, accepted in operations_with_body(document).items():
        method, _, path = operation.partition(" ")
        while "{" in path:
            path = path[: path.index("{")] + "1" + path[path.index("}") + 1 :]
        for sent in _list_wrong(accepted):
            response = await client.request(method, path, content=_BODY, headers=headers | sent)
            hints = {"Accept"} | {
                name for name, of in (("Accept-Post", "POST"), ("Accept-Patch", "PATCH")) if of == method
            }
            if response.status_code != httpx.codes.UNSUPPORTED_MEDIA_TYPE or {
                response.headers.get(name) for name in hints
            } != {", ".join(accepted)}:
                unexpected.append(f"{operation} {sent}: {response.status_code}")
        for coding in ("gzip", "br", "gzip, identity"):
            sent = {"Content-Type": accepted[0], "Content-Encoding": coding}
            response = await client.request(method, path, content=_BODY, headers=headers | sent)
            if (
                response.status_code != httpx.codes.UNSUPPORTED_MEDIA_TYPE
                or response.headers.get("Accept-Encoding") != "identity"
            ):
                unexpected.append(f"{operation} {sent}: {response.status_code}")
        for value in (accepted[0], f"{accepted[0].upper()} ; charset=UTF-8"):
            sent = {"Content-Type": value, "Content-Encoding": "identity"}
            response = await client.request(method, path, content=_BODY, headers=headers | sent)
            if response.status_code == httpx.codes.UNSUPPORTED_MEDIA_TYPE:
                unexpected.append(f"{operation} {sent}: {response.status_code}")
    return unexpected
