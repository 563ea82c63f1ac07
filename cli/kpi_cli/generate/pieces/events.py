"""A new type of event of auth: its name, its payload, the stored schema, and its section of the page."""

import ast
import json
import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from kpi_cli.errors import FailureError
from kpi_cli.generate import editing
from kpi_cli.generate.changes import Edit, Plan
from kpi_cli.generate.fields.names import split_words
from kpi_cli.generate.fields.parsing import parse_fields
from kpi_cli.generate.pieces.house import find_class, open_house
from kpi_cli.generate.specs import FieldSpec, Kind

_PAYLOADS = ("events", "payloads.py")
_PAGE = "docs/events.md"
# The rules of a column that a payload does not have: its writer is the service itself.
_RULES = ("unique", "index", "min", "max", "ge", "gt", "le", "lt", "foreign", "default")
_EXAMPLE = re.compile(r'^\{"seq": (\d+), .*"occurred_at": "([^"]+)"', re.MULTILINE)


class _Type(NamedTuple):
    """How a kind of field stands in the payload, in its JSON Schema, and in the example."""

    code: str
    schema: dict[str, Any]
    example: Any
    imports: str = ""


_TYPES = {
    Kind.STRING: _Type("str", {"type": "string"}, "a text"),
    Kind.TEXT: _Type("str", {"type": "string"}, "a text"),
    Kind.INTEGER: _Type("int", {"type": "integer"}, 3),
    Kind.BIGINT: _Type("int", {"type": "integer"}, 3),
    Kind.BOOLEAN: _Type("bool", {"type": "boolean"}, True),
    Kind.DATETIME: _Type(
        "datetime",
        {"format": "date-time", "type": "string"},
        "2026-11-27T15:00:00Z",
        "from datetime import datetime",
    ),
}


def plan_event(checkout: Path, *, name: str, service: str, fields: Sequence[str] | None = None) -> Plan:
    """``account.suspended``, or ``AccountSuspended``, with the fields of its payload."""
    house = open_house(checkout, service)
    if house.read(house.path(*_PAYLOADS)) is None:
        sentence = f"{service} writes no events: what other parts have to know is in the events of auth"
        raise FailureError("make", sentence, fix="-s auth, or leave the event out", code=2)
    noun, verb = _split_type(name)
    kind, payload = f"{noun}.{verb}", "".join(word.capitalize() for word in f"{noun}_{verb}".split("_"))
    specs = parse_fields(fields or ())
    _check(specs)
    member = f"{noun}_{verb}".upper()
    changes = (
        Edit(house.path("events", "models.py"), lambda source: _add_type(source, member, kind)),
        Edit(house.path(*_PAYLOADS), lambda source: _add_payload(source, member, payload, specs)),
        Edit(house.test_path("events", "schemas.json"), lambda text: _store_schema(text, kind, specs)),
        # It makes no token invalid; what does is a revocation, which readers would have to know.
        Edit(house.test_path("events", "test_revocations.py"), lambda text: _add_harmless(text, member)),
        Edit(_PAGE, lambda text: _describe(text, kind, specs)),
    )
    put = f"repository.put(connection, EventType.{member}, {payload}(...), account_id=...)"
    return Plan(
        title=f"event {kind} of {service}",
        changes=changes,
        notes=(f"write it in the transaction of the change: {put}", f"say in {_PAGE} when it is written"),
    )


def _split_type(name: str) -> tuple[str, str]:
    """The noun and what happened to it, which is the last word unless a dot says otherwise."""
    if "." in name:
        noun, _, verb = name.partition(".")
        return "_".join(split_words(noun)), "_".join(split_words(verb))
    words = split_words(name)
    if len(words) == 1:
        raise FailureError("make", f"{name!r} does not say what happened to what", fix="account.suspended", code=2)
    return "_".join(words[:-1]), words[-1]


def _check(specs: Iterable[FieldSpec]) -> None:
    specs = tuple(specs)
    if not specs:
        raise FailureError("make", "an event says something: it has fields", fix="-f reason:string:required", code=2)
    for spec in specs:
        if spec.kind not in _TYPES:
            kinds = ", ".join(_TYPES)
            raise FailureError("make", f"{spec.name}: a payload has fields of the types {kinds} only", code=2)
        values = [getattr(spec, rule) for rule in _RULES]
        # A bound of 0 is equal to False.
        if any(value is not None and value is not False for value in values):
            sentence = f"{spec.name}: a field of a payload has no other rules than required and nullable"
            raise FailureError("make", sentence, fix=f"-f {spec.name}:{spec.kind}:required", code=2)


def _add_type(source: str, member: str, kind: str) -> str:
    line = f'    {member} = "{kind}"'
    return editing.add_line_after(source, r'^    [A-Z_]+ = "[a-z_]+\.[a-z_]+"$', line)


def _add_payload(source: str, member: str, payload: str, specs: Sequence[FieldSpec]) -> str:
    known = re.search(rf"EventType\.{member}: Schema\((\w+),", source)
    if known and known[1] != payload:
        raise FailureError("make", f"there is such a type already, with the payload {known[1]}", code=2)
    lines = [f"class {payload}(_Payload):", *(f"    {spec.name}: {_code(spec)}" for spec in specs)]
    block = "\n".join(lines)
    there = find_class(source, payload)
    if there is not None and ast.dump(there) != ast.dump(ast.parse(block).body[0]):
        sentence = f"{payload} is another payload already: a changed one needs a new version"
        raise FailureError("make", sentence, fix=f"see {_PAGE}", code=2)
    if there is None:
        source = editing.add_line_before(source, r"^class Schema\(NamedTuple\):$", f"{block}\n\n")
    for line in sorted({_TYPES[spec.kind].imports for spec in specs} - {""}):
        source = editing.add_import(source, line)
    source = editing.add_to_list(source, "SCHEMAS", f"EventType.{member}: Schema({payload}, 1)")
    return _add_to_union(source, payload)


def _is_number(spec: FieldSpec) -> bool:
    return spec.name.endswith("_id") and spec.kind in {Kind.INTEGER, Kind.BIGINT}


def _code(spec: FieldSpec) -> str:
    code = "_Number" if _is_number(spec) else _TYPES[spec.kind].code
    return f"{code} | None" if spec.nullable else code


def _schema(spec: FieldSpec) -> dict[str, Any]:
    schema = _TYPES[spec.kind].schema
    if _is_number(spec):
        schema = {"minimum": 1, **schema}
    return {"anyOf": [schema, {"type": "null"}]} if spec.nullable else schema


def _add_to_union(source: str, payload: str) -> str:
    """``Payload`` is the union of all payloads."""
    for node in ast.parse(source).body:
        match node:
            case ast.Assign(targets=[ast.Name(id="Payload")], value=value):
                if payload in {each.id for each in ast.walk(value) if isinstance(each, ast.Name)}:
                    return source
                lines = source.splitlines(keepends=True)
                row, column = (value.end_lineno or 0) - 1, value.end_col_offset or 0
                lines[row] = f"{lines[row][:column]} | {payload}{lines[row][column:]}"
                return "".join(lines)
    raise editing.AnchorError("no union named Payload")


def _store_schema(text: str, kind: str, specs: Sequence[FieldSpec]) -> str:
    stored = json.loads(text)
    schema = {
        "additionalProperties": False,
        "properties": {spec.name: _schema(spec) for spec in specs},
        "required": [spec.name for spec in specs],
        "type": "object",
    }
    return json.dumps(stored | {f"{kind}@1": stored.get(f"{kind}@1", schema)}, indent=1) + "\n"


def _add_harmless(text: str, member: str) -> str:
    return editing.add_to_list(text, "others", f"EventType.{member}")


def _describe(text: str, kind: str, specs: Sequence[FieldSpec]) -> str:
    """A section behind those of the other types, with an example as the feed would show it."""
    if f"### `{kind}`\n" in text:
        return text
    *_, (seq, occurred_at) = _EXAMPLE.findall(text)
    later = datetime.fromisoformat(occurred_at) + timedelta(minutes=1)
    head = {"seq": int(seq) + 1, "type": kind, "schema_version": 1, "account_id": 7}
    data = {spec.name: _TYPES[spec.kind].example for spec in specs}
    first = json.dumps(head | {"occurred_at": f"{later:%Y-%m-%dT%H:%M:%S.%fZ}"})[:-1]
    section = f'### `{kind}`\n\n```json\n{first},\n "data": {json.dumps(data)}, "seconds": null}}\n```\n\n'
    return editing.add_line_before(text, r"^## The feed$", section.rstrip("\n") + "\n")
