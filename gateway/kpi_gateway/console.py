"""``python -m kpi_gateway openapi``: the merged API document, without running services.

It reads one JSON object from standard input, the OpenAPI documents of the upstreams by their names, and writes the
document of ``GET /openapi.json`` to standard output. A refusal is one sentence on standard error.
"""

import json
import sys
from collections.abc import Iterable, Sequence

from pydantic import TypeAdapter, ValidationError

from kpi_gateway.documents.merging import ServiceDocument, merge
from kpi_gateway.routes import RouteTable
from kpi_gateway.settings import GatewaySettings

_DOCUMENTS = TypeAdapter(dict[str, ServiceDocument])


class InputError(Exception):
    """The input is not what the command needs; the message is a sentence for the operator."""


def print_openapi(settings: GatewaySettings) -> int:
    # `serve` imports this module too, and its parent process of several workers does not need the application.
    from kpi_gateway.app import create_pages  # noqa: PLC0415

    table = RouteTable.of(settings)
    try:
        documents = _parse_documents(sys.stdin.buffer.read(), table.upstreams, settings.upstream_urls)
    except InputError as error:
        sys.stderr.write(f"{settings.part.program}: {error}\n")
        return 1
    merged = merge(create_pages(settings, table).openapi(), table, documents)
    sys.stdout.buffer.write(json.dumps(merged, indent=2, ensure_ascii=False).encode() + b"\n")
    return 0


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
