"""The code of a resource: a noun's folder in the shape of the others."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from kpi_cli.errors import FailureError
from kpi_cli.generate.changes import NewFile, Plan
from kpi_cli.generate.clashes import find_clash
from kpi_cli.generate.fields.catalogue import code_of
from kpi_cli.generate.fields.code import FieldCode, Filter
from kpi_cli.generate.fields.printing import print_value
from kpi_cli.generate.rendering import render
from kpi_cli.generate.specs import Access, ResourceSpec

_FILES = ("__init__", "endpoints", "service", "repository", "models", "schemas", "errors")
_READ_ACCESS = {
    Access.PUBLIC: "OptionalReadAccess",
    Access.PROTECTED: "ReadAccess",
    Access.ADMIN: "AdminAccess",
}
_WRITE_ACCESS = {Access.PUBLIC: "WriteAccess", Access.PROTECTED: "WriteAccess", Access.ADMIN: "AdminAccess"}

# What schemas.py imports, whatever the fields are.
_SCHEMA_NAMES = {"Annotated", "Any", "BaseModel", "Changes", "Field", "ListQuery", "Literal"}


def plan_resource(spec: ResourceSpec, _checkout: Path) -> Plan:
    """The noun's folder. Its texts are valid Python, which the formatter brings into its form."""
    return Plan(
        title=f"resource {spec.names.class_name} in {spec.service.name}",
        changes=tuple(_plan_files(spec)),
        noun=_folder(spec),
    )


def _folder(spec: ResourceSpec) -> str:
    return f"{spec.service.folder}/{spec.service.package}/{spec.names.plural}"


def _plan_files(spec: ResourceSpec) -> Iterable[NewFile]:
    for name in _FILES:
        yield NewFile(f"{_folder(spec)}/{name}.py", render_module(name, spec))


def render_module(name: str, spec: ResourceSpec) -> str:
    """One file of the noun; FailureError with exit code 2 if its names clash."""
    text = render(f"resource/{name}.py.j2", **resource_values(spec))
    if reason := find_clash(name, text):
        fix = "choose another name for the field or the resource"
        raise FailureError("make", f"{spec.names.class_name} cannot be made: {reason}", fix=fix, code=2)
    return text


def resource_values(spec: ResourceSpec) -> dict[str, Any]:
    """What the templates of a resource print: names, the codes of fields, and which parts there are."""
    codes = _collect_codes(spec)
    fixed = {each.name for each in spec.fields if each.foreign is not None and each.foreign.cascades}
    return {
        "spec": spec,
        "names": spec.names,
        "service": spec.service,
        "class_name": spec.names.class_name,
        "package": f"{spec.service.package}.{spec.names.plural}",
        "id_name": f"{spec.names.singular}_id",
        "fields": codes,
        **_name_types(spec, codes),
        **_name_accesses(spec),
        **_name_errors(spec, codes),
        **_word(spec),
        **_split_bodies(spec, codes, fixed),
        **_describe_lists(codes),
        **_collect_parts(spec, codes),
        **_list_files(spec, codes),
    }


def _collect_codes(spec: ResourceSpec) -> list[FieldCode]:
    return [code_of(each, spec.names, soft_deletes=spec.soft_deletes) for each in spec.fields]


def _name_types(spec: ResourceSpec, codes: Sequence[FieldCode]) -> dict[str, Any]:
    """Types of fields that are written out get the field's name, since several bodies have them."""
    taken = _SCHEMA_NAMES | {name for code in codes for line in code.schema_imports for name in _imported(line)}
    types: dict[str, str] = {}
    for code in codes:
        if code.sent_type.startswith("Annotated["):
            name = _camel(code.name)
            types[code.name] = f"{spec.names.class_name}{name}" if name in taken else name
    return {
        "types": [(types[code.name], code.sent_type) for code in codes if code.name in types],
        "sent_types": {code.name: types.get(code.name, code.sent_type) for code in codes},
        "filter_types": {
            code.name: types.get(code.name)
            if code.filter_type == code.sent_type and code.name in types
            else code.filter_type
            for code in codes
        },
    }


def _imported(line: str) -> list[str]:
    """The names of ``from x import a, b``."""
    return line.partition(" import ")[2].split(", ")


def _name_accesses(spec: ResourceSpec) -> dict[str, Any]:
    checks_admin = spec.soft_deletes and spec.access is not Access.ADMIN
    accesses = {_READ_ACCESS[spec.access], _WRITE_ACCESS[spec.access]}
    return {
        "is_public": spec.access is Access.PUBLIC,
        "checks_admin": checks_admin,
        "read_access": _READ_ACCESS[spec.access],
        "write_access": _WRITE_ACCESS[spec.access],
        "accesses": sorted(accesses | ({"AdminAccess"} if spec.soft_deletes else set())),
        # A parameter that is not used only protects.
        "list_caller": "caller" if spec.owner or checks_admin else "_caller",
        "write_caller": "caller" if spec.owner else "_caller",
    }


def _name_errors(spec: ResourceSpec, codes: Sequence[FieldCode]) -> dict[str, Any]:
    name = spec.names.class_name
    unique = [code for code in codes if code.is_unique]
    taken = {code.name: f"{name}{_camel(code.name)}TakenError" for code in unique}
    not_found, not_yours = f"{name}NotFoundError", f"NotYour{name}Error"
    return {
        "unique": unique,
        "taken": taken,
        "not_found": not_found,
        "not_yours": not_yours,
        "errors": sorted([not_found, *taken.values(), *([not_yours] if spec.owner else [])]),
    }


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))


def _word(spec: ResourceSpec) -> dict[str, str]:
    import inflect  # noqa: PLC0415 - it takes 0.2 s, which only these commands need

    a_noun = str(inflect.engine().a(spec.names.title))
    return {"a_noun": a_noun, "your_noun": f"your own {spec.names.title}" if spec.owner else a_noun}


def _split_bodies(spec: ResourceSpec, codes: Sequence[FieldCode], fixed: set[str]) -> dict[str, Any]:
    sent = [code for code in codes if not code.is_file]
    changeable = [code for code in sent if code.name not in fixed]
    name = spec.names.class_name
    has_both = bool(fixed and changeable)
    return {
        "changeable": changeable,
        "fixed": [code.name for code in sent if code.name in fixed],
        "fixed_codes": [code for code in sent if code.name in fixed] if has_both else [],
        "created": changeable if has_both else sent,
        # What a PUT takes: without fields that cannot be changed it is what a POST takes.
        "replace_class": f"{name}Replace" if has_both else f"{name}Create",
        "example": print_value({code.name: code.example for code in sent}),
        "changed_example": print_value({code.name: code.example for code in changeable}),
        "update_example": print_value({code.name: code.other_example for code in changeable[:1]}),
    }


def _describe_lists(codes: Sequence[FieldCode]) -> dict[str, Any]:
    sortable = [code for code in codes if code.sort_type is not None]
    names = [name for code in sortable for name in (code.name, f"-{code.name}")]
    description = "Newest first"
    if sortable:
        description += " (new), or by a field; a minus sign reverses it, and empty values come last"
    return {
        "searched": [code for code in codes if code.is_searchable],
        "exact": [code for code in codes if code.filter is Filter.EXACT],
        "ranges": [code for code in codes if code.filter is Filter.RANGE],
        "sorts": [f'"{name}"' for name in ("new", *names)],
        "sort_description": description,
    }


def _list_files(spec: ResourceSpec, codes: Sequence[FieldCode]) -> dict[str, Any]:
    files = [
        {"name": code.name, "title": code.title, "is_image": code.is_image, "limit": f"MAX_{code.name.upper()}"}
        for code in codes
        if code.is_file
    ]
    return {
        "files": files,
        # An upload changes the row, too.
        "has_changes": spec.is_changeable or bool(files),
        # The files of a deleted row are removed, unless it can come back.
        "returns_removed": bool(files) and not spec.soft_deletes,
    }


def _collect_parts(spec: ResourceSpec, codes: Sequence[FieldCode]) -> dict[str, Any]:
    arguments = [argument for code in codes for argument in code.table_args]
    plural = spec.names.plural
    if spec.owner:
        arguments.append(f'Index("ix_{plural}_owner_id", "owner_id", "id")')
    if any(code.is_searchable for code in codes):
        arguments.append(f'Index("ix_{plural}_search", "search", postgresql_using="gin")')
    return {
        "table_args": arguments,
        "model_constants": [constant for code in codes for constant in code.model_constants],
        "model_imports": sorted({line for code in codes for line in code.model_imports}),
        "schema_imports": sorted({line for code in codes for line in code.schema_imports}),
        "schema_constants": [name for code in codes for name in code.model_names],
    }
