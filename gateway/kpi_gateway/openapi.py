"""One OpenAPI document out of the services' own."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, Field

from kpi_gateway.routes import API, RouteTable

Json = dict[str, Any]

_METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})
_OAUTH2_ADDRESSES = ("tokenUrl", "refreshUrl", "authorizationUrl")
_SCHEMES = "#/components/securitySchemes/"


class ServiceDocument(BaseModel):
    """What is used of a service's document; anything else in it stays behind."""

    info: Json
    paths: dict[str, Json]
    components: dict[str, Json] = Field(default_factory=dict)
    security: list[Json] | None = None
    tags: list[Json] = Field(default_factory=list)


class Merger:
    """Adds one service's document after another to the gateway's own.

    Components are kept by their reference (``#/components/schemas/Post``). Equal ones of two services are one
    in the result; of different ones under the same name, the later gets its service's name in front.
    """

    def __init__(self, own: ServiceDocument, table: RouteTable) -> None:
        self._table = table
        self._own_paths = own.paths
        self._paths: Json = {}
        self._components = dict(_by_reference(own.components))
        self._tags = {tag["name"]: tag for tag in own.tags}
        self._operation_ids = {operation.get("operationId") for operation in _operations(own.paths)}

    def add(self, service: str, document: ServiceDocument) -> None:
        components = {ref: self._readdressed(it) for ref, it in _by_reference(document.components)}
        names = self._names(service, components)
        for reference, definition in components.items():
            self._components[names[reference]] = _renamed(definition, names)
        for path, item in document.paths.items():
            route = self._table.find(path.encode())
            if route is not None and route.upstream == service:
                self._paths[API + path] = self._item(service, _renamed(item, names), document, names)
        for tag in document.tags:
            self._tags.setdefault(tag["name"], tag)

    def document(self, info: Json) -> Json:
        components: Json = {}
        for reference, definition in self._components.items():
            _, _, kind, name = reference.split("/", 3)
            components.setdefault(kind, {})[name] = definition
        return {
            "openapi": "3.1.0",
            "info": info,
            "servers": [{"url": "/"}],
            "tags": list(self._tags.values()),
            # The services first: they are what people come for.
            "paths": self._paths | self._own_paths,
            "components": components,
        }

    def _names(self, service: str, components: Json) -> dict[str, str]:
        """Every reference of a document and what it is in the merged one."""
        clashing = _clashing(self._components, components)
        names = {reference: reference for reference in components}
        for reference in clashing:
            kind, _, name = reference.rpartition("/")
            candidate = f"{kind}/{service.capitalize()}{name}"
            while candidate in self._components or candidate in components:
                candidate += "_"
            names[reference] = candidate
        return names

    def _item(self, service: str, item: Json, document: ServiceDocument, names: Mapping[str, str]) -> Json:
        item.pop("servers", None)
        for operation in _operations({"": item}):
            self._make_unique(service, operation)
            security = operation.get("security", document.security)
            if security is not None:
                operation["security"] = [_renamed_schemes(requirement, names) for requirement in security]
        return item

    def _make_unique(self, service: str, operation: Json) -> None:
        name = operation.get("operationId")
        if name is None:
            return
        while name in self._operation_ids:
            name = f"{service}_{name}"
        operation["operationId"] = name
        self._operation_ids.add(name)

    def _readdressed(self, definition: Json) -> Json:
        """A security scheme whose addresses are the gateway's; other components as they are."""
        if definition.get("type") != "oauth2" or not isinstance(definition.get("flows"), dict):
            return definition
        flows = {name: self._readdressed_flow(flow) for name, flow in definition["flows"].items()}
        return definition | {"flows": flows}

    def _readdressed_flow(self, flow: Json) -> Json:
        flow = dict(flow)
        for name in _OAUTH2_ADDRESSES:
            address = "/" + str(flow.get(name, "")).lstrip("/")
            if self._table.find(address.encode()) is not None:
                flow[name] = API + address
        return flow


def _by_reference(components: Mapping[str, Json]) -> Iterator[tuple[str, Json]]:
    for kind, definitions in components.items():
        for name, definition in definitions.items():
            yield f"#/components/{kind}/{name}", definition


def _operations(paths: Mapping[str, Json]) -> Iterator[Json]:
    for item in paths.values():
        for method, operation in item.items():
            if method in _METHODS and isinstance(operation, dict):
                yield operation


def _clashing(known: Mapping[str, Json], ours: Mapping[str, Json]) -> set[str]:
    """References that mean something else already, and those that are the same but refer to such a one."""
    clashing = {reference for reference, it in ours.items() if reference in known and known[reference] != it}
    rest = {reference for reference in ours if reference in known} - clashing
    while touched := {reference for reference in rest if clashing.intersection(_texts(ours[reference]))}:
        clashing |= touched
        rest -= touched
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


def _renamed(node: Any, names: Mapping[str, str]) -> Any:  # noqa: ANN401 it is any piece of JSON
    """A copy with new references, wherever they stand: in ``$ref`` or in a discriminator's mapping."""
    if isinstance(node, str):
        return names.get(node, node)
    if isinstance(node, dict):
        return {key: _renamed(value, names) for key, value in node.items()}
    if isinstance(node, list):
        return [_renamed(value, names) for value in node]
    return node


def _renamed_schemes(requirement: Json, names: Mapping[str, str]) -> Json:
    return {names.get(_SCHEMES + name, name).removeprefix(_SCHEMES): scopes for name, scopes in requirement.items()}
