"""Merges the services' OpenAPI documents into one."""

from collections.abc import Iterator, Mapping
from copy import deepcopy

from kpi_shared.http.openapi import operations
from pydantic import BaseModel, Field

from kpi_gateway.documents.additions import HEADERS, complete_forwarded, complete_own
from kpi_gateway.documents.renaming import Json, anchors, rename_component, rename_references, rename_schemes
from kpi_gateway.routes import API, RouteTable

_OAUTH2_ADDRESSES = ("tokenUrl", "refreshUrl", "authorizationUrl")

_INTRODUCTION = """
Register with `POST /api/v1/users`, then press **Authorize** and sign in. Requests to the operations
marked with a lock then carry your token. Programs send an API key instead: make one with `POST /api/v1/api-keys`, and
enter it there.

Every path is also served without `/v1` and without `/api/v1`. Errors are problem documents (RFC 9457); their `instance`
is the id of the request.
"""


class ServiceDocument(BaseModel):
    """The parts of a service's document that are used; the rest of it is ignored."""

    info: Json
    paths: dict[str, Json]
    components: dict[str, Json] = Field(default_factory=dict)
    security: list[Json] | None = None
    tags: list[Json] = Field(default_factory=list)


def merge(own: Json, table: RouteTable, documents: Mapping[str, ServiceDocument | None]) -> Json:
    """The gateway's ``own`` document with those of the services by name; None for a service that gave none."""
    merger = Merger(ServiceDocument.model_validate(own), table)
    for service, document in documents.items():
        if document is not None:
            merger.add(service, document)
    missing = [service for service, document in documents.items() if document is None]
    gap = f"\n**Temporarily missing**, because they provided no document: {', '.join(missing)}.\n" if missing else ""
    info = {"title": own["info"]["title"], "version": own["info"]["version"], "description": _INTRODUCTION + gap}
    return merger.document(info)


class Merger:
    """Adds the services' documents to the gateway's own, one after another.

    Components are identified by their reference (``#/components/schemas/Post``). Equal ones of two services become one;
    of different ones with the same name, the later is prefixed with its service's name.
    """

    def __init__(self, own: ServiceDocument, table: RouteTable) -> None:
        self._table = table
        self._own_paths = {path: _complete_own(path, deepcopy(item)) for path, item in own.paths.items()}
        self._paths: Json = {}
        self._components = dict(_by_reference(own.components)) | dict(_by_reference({"headers": dict(HEADERS)}))
        self._own_tags = {tag["name"]: tag for tag in own.tags}
        self._tags: dict[str, Json] = {}
        self._operation_ids = {operation.get("operationId") for operation in operations(own.paths)}

    def add(self, service: str, document: ServiceDocument) -> None:
        components = {ref: self._rewrite_addresses(it) for ref, it in _by_reference(document.components)}
        names = self._names(service, components)
        for reference, definition in components.items():
            self._components[names[reference]] = rename_component(reference, definition, names)
        for path, item in document.paths.items():
            route = self._table.find(path.encode())
            if route is not None and route.upstream == service:
                self._paths[API + path] = self._convert_item(service, rename_references(item, names), document, names)
        for tag in document.tags:
            if tag["name"] not in self._own_tags:
                self._tags.setdefault(tag["name"], tag)

    def document(self, info: Json) -> Json:
        components: Json = {}
        for reference, definition in self._components.items():
            _, _, kind, name = reference.split("/", 3)
            components.setdefault(kind, {})[name] = definition
        return {
            "openapi": "3.1.0",
            "info": info,
            # Relative to the document's own address: clients use host names that the gateway does not know.
            "servers": [{"url": "/", "description": "The gateway that served this document"}],
            # The services first: they are what readers look for.
            "tags": [*self._tags.values(), *self._own_tags.values()],
            "paths": self._paths | self._own_paths,
            "components": components,
        }

    def _names(self, service: str, components: Json) -> dict[str, str]:
        """The references of a document, each with its name in the merged one."""
        clashing = _clashing(self._components, components)
        names = {reference: reference for reference in components}
        for reference in clashing:
            kind, _, name = reference.rpartition("/")
            candidate = f"{kind}/{service.capitalize()}{name}"
            while candidate in self._components or candidate in components:
                candidate += "_"
            names[reference] = candidate
        return names | dict(anchors(names, components))

    def _convert_item(self, service: str, item: Json, document: ServiceDocument, names: Mapping[str, str]) -> Json:
        item.pop("servers", None)
        for operation in operations({"": item}):
            self._make_unique(service, operation)
            # Stated for public operations, too, so that it is clear that none is missing.
            security = operation.get("security", document.security) or []
            operation["security"] = [rename_schemes(requirement, names) for requirement in security]
            complete_forwarded(operation)
        return item

    def _make_unique(self, service: str, operation: Json) -> None:
        name = operation.get("operationId")
        if name is None:
            return
        while name in self._operation_ids:
            name = f"{service}_{name}"
        operation["operationId"] = name
        self._operation_ids.add(name)

    def _rewrite_addresses(self, definition: Json) -> Json:
        """A security scheme with the gateway's addresses; other components unchanged."""
        if definition.get("type") != "oauth2" or not isinstance(definition.get("flows"), dict):
            return definition
        flows = {name: self._rewrite_flow(flow) for name, flow in definition["flows"].items()}
        return definition | {"flows": flows}

    def _rewrite_flow(self, flow: Json) -> Json:
        flow = dict(flow)
        for name in _OAUTH2_ADDRESSES:
            address = "/" + str(flow.get(name, "")).lstrip("/")
            if self._table.find(address.encode()) is not None:
                flow[name] = API + address
        return flow


def _complete_own(path: str, item: Json) -> Json:
    for operation in operations({"": item}):
        complete_own(operation, limited=not path.startswith("/health"))
    return item


def _by_reference(components: Mapping[str, Json]) -> Iterator[tuple[str, Json]]:
    for kind, definitions in components.items():
        for name, definition in definitions.items():
            yield f"#/components/{kind}/{name}", definition


def _clashing(known: Mapping[str, Json], ours: Mapping[str, Json]) -> set[str]:
    """References with another meaning in the merged document, and equal ones that refer to such a reference."""
    clashing = {reference for reference, it in ours.items() if reference in known and known[reference] != it}
    rest = {reference for reference in ours if reference in known} - clashing
    while affected := {reference for reference in rest if clashing.intersection(_texts(ours[reference]))}:
        clashing |= affected
        rest -= affected
    return clashing


def _texts(node: object) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for value in node.values():
            yield from _texts(value)
    elif isinstance(node, list):
        for value in node:
            yield from _texts(value)
