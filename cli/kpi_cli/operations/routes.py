"""``kpi routes``: every operation of the API, who may call it, and how often."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kpi_cli.errors import KPI, FailureError, suggest
from kpi_cli.layout import Layout
from kpi_cli.operations import part_documents, part_environments, tables
from kpi_cli.parts import GATEWAY

_COLUMNS = ("method", "path", "service", "operation", "access", "limits")
# What a filter finds beside its own name: an operation that is public and does more for a known caller is public.
_ACCESS = {"public": ("public", "public-write")}


class Access(StrEnum):
    """Who may call an operation."""

    PUBLIC = "public"
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"
    PERSON = "person"


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which operations are listed; None and an empty text mean all."""

    service: str | None = None
    method: str | None = None
    path: str = ""
    access: Access | None = None

    def accepts(self, route: Mapping[str, Any]) -> bool:
        return (
            self.service in {None, route["service"]}
            and (self.method is None or self.method.upper() == route["method"])
            and self.path.lower() in str(route["path"]).lower()
            and (self.access is None or route["access"] in _ACCESS.get(self.access, (self.access,)))
        )


def print_routes(layout: Layout, wanted: Filter, *, as_json: bool) -> None:
    """Print the operations: nothing has to be running."""
    routes = part_documents.ask_gateway("routes", part_environments.find(layout, GATEWAY))["routes"]
    _check(wanted, routes)
    found = [route for route in routes if wanted.accepts(route)]
    if as_json:
        print(json.dumps({"routes": found}, indent=2))
        return
    tables.print_rows(_COLUMNS, [_describe(route) for route in found])


def _check(wanted: Filter, routes: list[dict[str, Any]]) -> None:
    """A service that is unknown is a mistake, and not an empty list."""
    services = sorted({route["service"] for route in routes})
    if wanted.service is not None and wanted.service not in services:
        close = suggest(wanted.service, services)
        problem = f"no route leads to {wanted.service}; the services are {', '.join(services)}{close}"
        raise FailureError("routes", problem, fix=f"{KPI} routes --service {services[0]}", code=2)


def _describe(route: Mapping[str, Any]) -> dict[str, Any]:
    """A row for people: the limit is that of one client address, unless another policy is named."""
    limits = [f"{it['policy']} {it['requests']:,}/{it['window']} s" for it in route["limits"]]
    return {**route, "operation": route["operation_id"], "limits": ", ".join(limits) or None}
