"""The tests and the seeder of a resource."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from kpi_cli.generate.changes import NewFile, Plan
from kpi_cli.generate.fields.code import FieldCode
from kpi_cli.generate.fields.printing import to_json_value
from kpi_cli.generate.fields.values import read_default
from kpi_cli.generate.rendering import render
from kpi_cli.generate.resource import resource_values
from kpi_cli.generate.seeding import plan_seeding
from kpi_cli.generate.specs import Access, ResourceSpec

# Of listing, reading, creating, changing and deleting.
_ALL, _NOTHING = "200 200 201 200 204", "403 403 403 403 403"
_READING = "200 200 403 403 403"
_ANONYMOUS = {Access.PUBLIC: "200 200 401 401 401"}
_UNAUTHENTICATED = "401 401 401 401 401"
# What kpi_shared.testing.list_checks.check_search adds.
_WORDS = "Quince jam"
# Texts longer than this are printed as a repetition.
_LONG = 30


def add_tests(plan: Plan, spec: ResourceSpec) -> Plan:
    """The plan with the resource's tests, and the seeder whose factory they use."""
    values = resource_values(spec)
    fields: list[FieldCode] = values["fields"]
    return replace(plan, changes=(*plan.changes, plan_seeding(spec, fields), *_plan_tests(spec, values)))


def _plan_tests(spec: ResourceSpec, values: dict[str, Any]) -> Iterator[NewFile]:
    folder = f"{spec.service.folder}/tests/{spec.names.plural}"
    described = values | _describe(spec, values)
    files = {
        "conftest": "conftest",
        "test_writes": f"test_{spec.names.plural}",
        "test_lists": f"test_{spec.names.singular}_lists",
    }
    if any(field.is_file for field in values["fields"]):
        files["test_files"] = f"test_{spec.names.singular}_files"
    for template, name in files.items():
        yield NewFile(f"{folder}/{name}.py", render(f"resource/tests/{template}.py.j2", **described))


def _describe(spec: ResourceSpec, values: dict[str, Any]) -> dict[str, Any]:
    fields: Sequence[FieldCode] = values["fields"]
    sent = [field for field in fields if not field.is_file]
    sorted_fields = [field for field in sent if field.sort_type is not None]
    left_out = {each.name: _default_of(spec, each.name) for each in sent if each.default is not None}
    return {
        "sent": sent,
        "compact": print_compactly,
        "join": _join,
        "parents": {field.name: field.foreign_table for field in sent if field.foreign_table is not None},
        "is_for_admins": spec.access is Access.ADMIN,
        "shown_otherwise": [field for field in sent if field.shown_as],
        "rights": [
            (account, expected if values["changeable"] else _without_change(expected))
            for account, expected in _list_rights(spec)
        ],
        "file_rights": [(account, _of_files(expected)) for account, expected in _list_rights(spec)],
        "required": [field.name for field in sent if field.default is None],
        "left_out": left_out,
        "unique_names": [field.name for field in sent if field.is_unique],
        "soft_deletes": spec.soft_deletes,
        "sorted_fields": sorted_fields,
        "other_list": _print_other_list(sorted_fields, sent),
        "exact": [field for field in values["exact"] if _differs(field)],
        "ranges": [field for field in values["ranges"] if _differs(field)],
        "searched": [field for field in values["searched"] if _takes_words(field)],
        "has_own_list": spec.owner is not None and spec.access is not Access.ADMIN,
    }


def _differs(field: FieldCode) -> bool:
    """Whether rows of a test can have different values: a list of equal ones shows no filter."""
    return field.example != field.other_example or field.foreign_table is not None


def _takes_words(field: FieldCode) -> bool:
    """Whether the words that the test looks for fit into the bounds, of which the shortest and longest values tell."""
    lengths = [len(value) for value in field.accepted]
    return min(lengths) <= len(_WORDS) <= max(lengths)


def _list_rights(spec: ResourceSpec) -> Iterator[tuple[str, str]]:
    yield "anonymous", _ANONYMOUS.get(spec.access, _UNAUTHENTICATED)
    if spec.access is Access.ADMIN:
        yield from (("anna", _NOTHING), ("anna_reading", _NOTHING), ("admin", _ALL))
        return
    yield from (("anna", _ALL), ("anna_reading", _READING))
    yield "bert", "200 200 201 403 403" if spec.owner is not None else _ALL
    yield "admin", _ALL


def _without_change(expected: str) -> str:
    """Where no field can be changed, there is no such operation."""
    before, _, after = expected.rsplit(" ", 2)
    return f"{before} 405 {after}"


def _of_files(expected: str) -> str:
    """Of uploading, downloading and removing: as of changing, reading and deleting the row."""
    _, read, _, change, delete = expected.split()
    return f"{change} {read} {delete}"


def _default_of(spec: ResourceSpec, name: str) -> Any:  # noqa: ANN401 JSON
    field = next(each for each in spec.fields if each.name == name)
    return None if field.default is None else to_json_value(read_default(field))


def _join(values: Iterable[object]) -> str:
    return ", ".join(map(print_compactly, values))


def _print_other_list(sorted_fields: Sequence[FieldCode], sent: Sequence[FieldCode]) -> str:
    """The query of a list whose cursors are not those of the whole list, newest first."""
    if sorted_fields:
        return f'{{"sort": "{sorted_fields[0].name}"}}'
    searched = [field for field in sent if field.is_searchable]
    return '{"search": "word"}' if searched else '{"cursor": "A" * 40}'


def print_compactly(value: object) -> str:
    """An expression of Python: a long text as what it repeats."""
    if not isinstance(value, str) or len(value) <= _LONG:
        return repr(value)
    found = re.fullmatch(r"(.*?)((.)\3{9,})(.*)", value, flags=re.DOTALL)
    if found is None:
        return repr(value)
    before, run, character, after = found.groups()
    parts = [repr(before)] if before else []
    parts.append(f"{character!r} * {len(run)}")
    parts += [print_compactly(after)] if after else []
    return " + ".join(parts)
