"""The places outside of its folder that a resource needs: application, order of imports, gateway, rights."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from kpi_cli.errors import FailureError
from kpi_cli.generate import editing, steps
from kpi_cli.generate.changes import Edit, Plan
from kpi_cli.generate.fields.catalogue import code_of
from kpi_cli.generate.fields.code import Filter
from kpi_cli.generate.resource import plan_resource
from kpi_cli.generate.resource_tests import add_tests
from kpi_cli.generate.specifying import specify_resource
from kpi_cli.generate.specs import Access, Kind, ResourceSpec

# A noun stands below these, whatever it imports.
_ABOVE_NOUNS = {"app", "seeding", "housekeeping"}
# Rights stand in one column.
_WIDTH = 60
_READ = {Access.PUBLIC: "public", Access.PROTECTED: "read", Access.ADMIN: "admin"}
_WRITE = {Access.PUBLIC: "write", Access.PROTECTED: "write", Access.ADMIN: "admin"}
_FILES = {Kind.FILE, Kind.IMAGE}
# Of a row of the gateway's table that does not say it.
_BODY_LIMIT = 1024 * 1024


def plan_wired_resource(checkout: Path, **options: Any) -> Plan:  # noqa: ANN401 of specify_resource
    """All of ``kpi make resource``: the noun and the places that it needs outside of its folder."""
    spec = specify_resource(checkout, **options)
    if not spec.fields and spec.owner is None:
        raise FailureError("make", "a resource needs a field", fix="as -f title:string:required,max:200", code=2)
    return wire(add_tests(plan_resource(spec, checkout), spec), spec, checkout)


def wire(plan: Plan, spec: ResourceSpec, checkout: Path) -> Plan:
    """The plan with the edits of the service, the gateway and the rights, and the steps that follow from the code."""
    service, names = spec.service, spec.names
    description = f"{names.plural_title.capitalize()}: {_describe(spec)}"
    edits = (include(spec, description), place_noun(spec, checkout), route(spec), allow([*_list_rights(spec)]))
    made = (steps.write_migration(service.folder, names.plural.replace("_", " ")), steps.write_openapi)
    notes = (
        f"its tests: .venv/bin/pytest {service.folder}/tests/{names.plural}",
        f"its address, through the gateway: /api/v1/{names.path}",
        *_warn(spec),
    )
    return replace(plan, changes=(*plan.changes, *edits), steps=(*plan.steps, *made), notes=(*plan.notes, *notes))


def _include(app: str, spec: ResourceSpec, description: str) -> str:
    names = spec.names
    module = f"{spec.service.package}.{names.plural}.endpoints"
    app = editing.add_import(app, f"from {module} import router as {names.plural}")
    app = editing.add_to_list(app, "tags", f'"{names.path}": "{description}"')
    return editing.add_to_list(app, "routers", names.plural)


def _describe(spec: ResourceSpec) -> str:
    is_searchable = any(field.kind in {Kind.STRING, Kind.TEXT} for field in spec.fields)
    words = f"reading, {'searching, ' if is_searchable else ''}writing"
    return f"{words} (admins)" if spec.access is Access.ADMIN else words


def _warn(spec: ResourceSpec) -> Iterator[str]:
    """What may be more than was meant."""
    if spec.owner is None and spec.access is not Access.ADMIN:
        yield (
            "every account with a token may change and delete every row:"
            " an owner field (-f owner:owner) or --admin limits that"
        )
    if spec.owner is not None and spec.access is Access.PROTECTED:
        yield "every account may read all rows; only their owners and admins change them"


def _order(contracts: str, spec: ResourceSpec, checkout: Path) -> str:
    """Give the noun its place among the containers, and among the nouns above those that it depends on."""
    package, noun = spec.service.package, spec.names.plural
    files = editing.find_contract(contracts, rf"{package}\.\w+")
    contracts = editing.add_container(contracts, files, f"{package}.{noun}")
    nouns = editing.find_contract(contracts, package)
    layers = editing.read_layers(contracts, nouns)
    below = {"tables", *_find_nouns(spec, checkout)}
    highest = next(number for number, layer in enumerate(layers) if below & {*layer})
    above = layers[highest - 1]
    if _ABOVE_NOUNS & {*above}:
        return editing.add_layer(contracts, nouns, layers[highest][0], noun)
    return editing.add_layer_member(contracts, nouns, above[0], noun)


def _find_nouns(spec: ResourceSpec, checkout: Path) -> Iterator[str]:
    """The nouns whose tables the resource refers to."""
    if spec.owner is not None and spec.service.has_authors:
        yield "authors"
    tables = {field.foreign.table for field in spec.fields if field.foreign is not None}
    for file in (checkout / spec.service.folder / spec.service.package).glob("*/models.py"):
        if tables & {*re.findall(r'__tablename__ = "(\w+)"', file.read_text(encoding="utf-8"))}:
            yield file.parent.name


def _route(settings: str, spec: ResourceSpec) -> str:
    names, service = spec.names, spec.service.name
    values = f'prefix="/{names.path}", upstream="{service}"'
    # Those with a token have limits of their own.
    is_public = spec.access is Access.PUBLIC
    row = f"{values}, costly_parameters=({', '.join(_list_costly(spec))})" if is_public else values
    settings = editing.add_to_list(settings, "_ROUTES", f"RouteSetting({row})", after=f'upstream="{service}")')
    largest = max((field.max or 0 for field in spec.fields if field.kind in _FILES), default=0)
    if largest <= _BODY_LIMIT:
        return settings
    # Only uploads are that large.
    upload = f'RouteSetting({values}, methods=("PUT",), body_limit={_print_size(largest)})'
    return editing.add_to_list(settings, "_ROUTES", upload, after=f'prefix="/{names.path}"')


def _list_costly(spec: ResourceSpec) -> Iterator[str]:
    """The parameters, as texts of Python, with which a list may read all rows of its table."""
    codes = [code_of(field, spec.names, soft_deletes=spec.soft_deletes) for field in spec.fields]
    if any(code.is_searchable for code in codes):
        yield '"search"'
    yield from ('"total"', '"skip"')
    if any(code.sort_type is not None for code in codes):
        yield '"sort"'
    for field, code in zip(spec.fields, codes, strict=True):
        if code.filter is Filter.RANGE:
            # An index may be of no use to a range with many rows.
            yield from (f'"{field.name}_from"', f'"{field.name}_to"')
        elif code.filter is Filter.EXACT and not (field.unique or field.index or field.foreign):
            yield f'"{field.name}"'


def _print_size(size: int) -> str:
    mebibytes, rest = divmod(size, 1024 * 1024)
    return str(size) if rest else f"{mebibytes} * 1024 * 1024"


def _allow(rights: str, rows: Sequence[tuple[str, str]]) -> str:
    known = {line.rpartition(" ")[0].strip() for line in rights.splitlines()}
    lines = [f"{name:{_WIDTH}} {right}" for name, right in rows if name not in known]
    return rights + "".join(f"{line}\n" for line in lines)


def _list_rights(spec: ResourceSpec) -> Iterator[tuple[str, str]]:
    read, write = _READ[spec.access], _WRITE[spec.access]
    rows = f"/api/v1/{spec.names.path}"
    row = f"{rows}/{{{spec.names.singular}_id}}"
    yield from ((f"POST {rows}", write), (f"GET {rows}", read), (f"GET {row}", read))
    methods = ("PUT", "PATCH", "DELETE") if spec.is_changeable else ("DELETE",)
    yield from ((f"{method} {row}", write) for method in methods)
    if spec.soft_deletes:
        yield f"POST {row}/restore", "admin"
    for field in spec.fields:
        if field.kind in _FILES:
            yield from ((f"{method} {row}/{field.name}", write) for method in ("PUT", "DELETE"))
            yield f"GET {row}/{field.name}", read


def place_noun(spec: ResourceSpec, checkout: Path) -> Edit:
    """The place of a noun in the order of imports."""
    return Edit(f"{spec.service.folder}/.importlinter", lambda text: _order(text, spec, checkout))


def include(spec: ResourceSpec, description: str) -> Edit:
    """The router of a noun, and what the API document says of it."""
    return Edit(f"{spec.service.folder}/{spec.service.package}/app.py", lambda text: _include(text, spec, description))


def route(spec: ResourceSpec) -> Edit:
    """The way of a noun through the gateway."""
    return Edit("gateway/kpi_gateway/settings.py", lambda text: _route(text, spec))


def allow(rows: Sequence[tuple[str, str]]) -> Edit:
    """Operations, as ``GET /api/v1/posts``, and the right that each needs."""
    return Edit("tests/rights.txt", lambda text: _allow(text, rows))
