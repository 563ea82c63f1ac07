"""``python -m kpi_gateway openapi`` and ``routes``: the merged API document and its operations, with nothing running.

Both read one JSON object from standard input, the OpenAPI documents of the upstreams by their names, and write one to
standard output: the document of ``GET /openapi.json``, or its operations with the limits that these settings give them.
A refusal is one sentence on standard error.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence

from kpi_shared.http.openapi import ACCESS, METHODS
from pydantic import TypeAdapter, ValidationError

from kpi_gateway.app import create_pages
from kpi_gateway.documents.merging import ServiceDocument, merge
from kpi_gateway.documents.renaming import Json
from kpi_gateway.routes import API, UNLIMITED, Route, RouteTable
from kpi_gateway.setting_types import ADDRESS, SUBJECT, PolicySetting
from kpi_gateway.settings import PART, GatewaySettings

_DOCUMENTS = TypeAdapter(dict[str, ServiceDocument])


class InputError(Exception):
    """The input is not what the command needs; the message is a sentence for the operator."""


def print_openapi(settings: GatewaySettings) -> int:
    return _print(settings, lambda merged, _: merged)


def print_routes(settings: GatewaySettings) -> int:
    return _print(settings, lambda merged, table: {"routes": list(_list_operations(settings, table, merged))})


def _print(settings: GatewaySettings, make: Callable[[Json, RouteTable], Json]) -> int:
    table = RouteTable.of(settings)
    try:
        documents = _parse_documents(sys.stdin.buffer.read(), table.upstreams, settings.upstream_urls)
    except InputError as error:
        sys.stderr.write(f"{settings.part.program}: {error}\n")
        return 1
    printed = make(merge(create_pages(settings, table).openapi(), table, documents), table)
    sys.stdout.buffer.write(json.dumps(printed, indent=2, ensure_ascii=False).encode() + b"\n")
    return 0


def _list_operations(settings: GatewaySettings, table: RouteTable, document: Json) -> Iterator[Json]:
    """The operations of the merged document, in its order, each with what the gateway knows about it."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method not in METHODS:
                continue
            route = table.find(path.removeprefix(API).encode(), method.upper()) if path.startswith(API) else None
            yield {
                "method": method.upper(),
                "path": path,
                "service": route.upstream if route is not None else PART.name,
                "operation_id": operation.get("operationId"),
                # None: the document of a foreign service does not say it.
                "access": operation.get(ACCESS),
                "limits": _list_limits(settings, path, route),
            }


def _list_limits(settings: GatewaySettings, path: str, route: Route | None) -> list[Json]:
    """The policies that count a request: those of every route, and the stricter one of this route."""
    if not settings.rate_limit_enabled or path.encode().startswith(UNLIMITED):
        return []
    general = PolicySetting(requests=settings.rate_limit_requests, window=settings.rate_limit_window)
    names = {ADDRESS: general, **({SUBJECT: general} if settings.has_token_keys else {})}
    if route is not None and route.limit is not None:
        names[route.limit] = settings.rate_limit_policies[route.limit]
    return [{"policy": name, "requests": it.requests, "window": it.window} for name, it in names.items()]


def _parse_documents(data: bytes, upstreams: Sequence[str], known: Iterable[str]) -> dict[str, ServiceDocument | None]:
    """The documents in the order of the route table, which decides about equal names in them.

    A service that no route leads to yet has a document without effect.
    """
    try:
        documents = _DOCUMENTS.validate_json(data)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        field = ".".join(map(str, first["loc"])) or "input"
        raise InputError(f"{field}: {first['msg']}") from None
    if missing := [name for name in upstreams if name not in documents]:
        raise InputError(f"no document for {', '.join(missing)}")
    if unknown := sorted(set(documents) - set(upstreams) - set(known)):
        raise InputError(f"no route leads to {', '.join(unknown)}")
    return {name: documents[name] for name in upstreams}
