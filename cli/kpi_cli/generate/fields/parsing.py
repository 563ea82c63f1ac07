"""Reading ``-f name:kind:rules``."""

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from kpi_cli.errors import FailureError, suggest
from kpi_cli.generate.fields.checks import check_field
from kpi_cli.generate.fields.enums import name_members
from kpi_cli.generate.fields.kinds import ELSEWHERE, KINDS, KindInfo
from kpi_cli.generate.fields.values import read_number
from kpi_cli.generate.fields.words import rename, why_no_field
from kpi_cli.generate.specs import FieldSpec, ForeignKey, Kind

_NAME = re.compile("[a-z][a-z0-9]*(_[a-z0-9]+)*")
# Constraints are named after the table and the field.
_MAX_NAME = 24
_KIND = re.compile(r"(?P<kind>[^:(]*)(?:\((?P<choices>[^()]*)\))?(?P<rules>:.*)?", re.DOTALL)
# A value in quotes may contain commas; a quote in it is written twice.
_RULE = re.compile(
    r"""\s*(?P<rule>[^:,]*?)\s*(?::(?:"(?P<double>(?:[^"]|"")*)"|'(?P<single>(?:[^']|'')*)'|(?P<plain>[^,]*)))?(?P<end>,|$)""",
    re.DOTALL,
)
_SYNONYMS = {"gte": "ge", "lte": "le"}
_FLAGS = ("required", "nullable", "unique", "index")
_VALUED = ("max", "min", "ge", "gte", "le", "lte", "gt", "lt", "foreign", "default")
_UNITS = {"": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KIB": 1024, "MIB": 1024**2, "GIB": 1024**3}
_TABLE_COLUMN = re.compile(r"(?P<table>[a-z][a-z0-9_]{0,62})\.(?P<column>[a-z][a-z0-9_]{0,62})")
_EXAMPLE = "write it as -f title:string:required,max:200"


def parse_fields(texts: Iterable[str]) -> tuple[FieldSpec, ...]:
    """All fields of a resource, whose names differ; FailureError otherwise."""
    fields: dict[str, FieldSpec] = {}
    for text in texts:
        spec = parse_field(text)
        if spec.name in fields:
            raise _failure(spec.name, "there are two fields of this name")
        fields[spec.name] = spec
    return tuple(fields.values())


def parse_field(text: str) -> FieldSpec:
    """FailureError with exit code 2 for what is unknown or contradicts itself.

    A field that is neither required nor has a default is nullable.
    """
    name, colon, rest = text.partition(":")
    _check_name(name)
    match = _KIND.fullmatch(rest)
    if not colon or not match or not match["kind"]:
        raise _failure(name, "its kind is missing", fix=_EXAMPLE)
    kind = _parse_kind(name, match["kind"])
    if kind is Kind.OWNER:
        return _parse_owner(name, match["rules"])
    if reason := why_no_field(name):
        raise _failure(name, f"a field cannot have this name, since {reason}", fix=f"another name, as {rename(name)}")
    values: dict[str, Any] = {"name": name, "kind": kind, "choices": _parse_choices(name, kind, match["choices"])}
    values |= _parse_rules(name, kind, match["rules"])
    if kind in {Kind.FILE, Kind.IMAGE}:
        values.setdefault("max", KINDS[kind].default_max)
    if not values.get("required") and "default" not in values:
        values["nullable"] = True
    spec = FieldSpec(**values)
    check_field(spec)
    return spec


def _failure(name: str, sentence: str, *, fix: str = "") -> FailureError:
    return FailureError(f"field {name}", sentence, fix=fix, code=2)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        sentence = f"{name!r} is no name of a field: it has lower-case words with _ between, as released_on"
        raise FailureError("field", sentence, fix=_EXAMPLE, code=2)
    if len(name) > _MAX_NAME:
        raise _failure(name, f"its name is too long: it has at most {_MAX_NAME} characters")


def _parse_kind(name: str, text: str) -> Kind:
    try:
        return Kind(text)
    except ValueError:
        close = suggest(text, Kind, elsewhere=ELSEWHERE)
        raise _failure(name, f"{text!r} is not a kind of field{close}", fix=f"one of {', '.join(Kind)}") from None


def _parse_owner(name: str, rules: str | None) -> FieldSpec:
    if name != "owner" or rules:
        raise _failure(name, "the owner has no other name and no rules", fix="write it as -f owner:owner")
    return FieldSpec(name=name, kind=Kind.OWNER, required=True)


def _parse_choices(name: str, kind: Kind, text: str | None) -> tuple[str, ...]:
    if kind is not Kind.ENUM:
        if text is not None:
            raise _failure(name, f"only an enum has choices, and {kind} is none")
        return ()
    fix = f'write it as -f "{name}:enum(draft|open|closed)"'
    if not text or not text.strip():
        raise _failure(name, "an enum needs values, and there are none", fix=fix)
    if "," in text:
        raise _failure(name, "the values of an enum are separated by |, not by commas", fix=fix)
    choices = tuple(choice.strip() for choice in text.split("|"))
    try:
        name_members(name, choices)
    except ValueError as error:
        raise _failure(name, str(error), fix=fix) from None
    return choices


def _parse_rules(name: str, kind: Kind, text: str | None) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for rule, value in _split_rules(name, text):
        if "default" in values and rule not in (*_FLAGS, *_VALUED):
            sentence = f"{rule!r} is no rule; it stands after a comma behind the default"
            raise _failure(name, sentence, fix="put a default with commas in quotes: default:'a, b'")
        key, parsed = _parse_rule(name, kind, rule, value)
        if key in values:
            raise _failure(name, f"the rule {rule} stands twice, or with another that says the same")
        values[key] = parsed
    return values


def _split_rules(name: str, text: str | None) -> list[tuple[str, str | None]]:
    """The rules with their values, which are None without a colon."""
    rules: list[tuple[str, str | None]] = []
    if text is None:
        return rules
    position, end = 1, ","
    while end == ",":
        match = _RULE.match(text, position)
        if match is None or not match["rule"]:
            raise _failure(name, f"a rule is expected instead of {text[position:]!r}", fix=_EXAMPLE)
        rules.append((match["rule"], _unquote(match)))
        position, end = match.end(), match["end"]
    return rules


def _unquote(match: re.Match[str]) -> str | None:
    if match["double"] is not None:
        return match["double"].replace('""', '"')
    return match["plain"] if match["single"] is None else match["single"].replace("''", "'")


def _parse_rule(name: str, kind: Kind, rule: str, value: str | None) -> tuple[str, Any]:
    key = _SYNONYMS.get(rule, rule)
    if rule not in _FLAGS and rule not in _VALUED:
        raise _failure(name, f"{rule!r} is no rule{suggest(rule, [*_FLAGS, *_VALUED])}", fix=_EXAMPLE)
    info = KINDS[kind]
    if key not in info.rules:
        rules = f"its rules are {', '.join(info.rules)}" if info.rules else "it has none"
        raise _failure(name, f"{kind} has no rule {rule}: {rules}")
    if rule in _FLAGS:
        if value is not None:
            raise _failure(name, f"the rule {rule} takes no value")
        return key, True
    if value is None:
        raise _failure(name, f"the rule {rule} needs a value, as in {rule}:{_example_of(key)}")
    if info.is_number and key in {"min", "max"}:
        key = {"min": "ge", "max": "le"}[key]
    return key, _parse_value(name, info, rule, value)


def _example_of(key: str) -> str:
    return {"foreign": "posts.id", "default": "x"}.get(key, "10")


def _parse_value(name: str, info: KindInfo, rule: str, value: str) -> Any:  # noqa: ANN401 the rules have different types
    if rule == "default":
        return value
    if rule == "foreign":
        return _parse_foreign(name, value)
    return _parse_bound(name, info, rule, value) if info.is_number else _parse_size(name, info, rule, value)


def _parse_foreign(name: str, value: str) -> ForeignKey:
    match = _TABLE_COLUMN.fullmatch(value)
    if not match:
        raise _failure(name, f"{value!r} is no column of a table", fix="write it as foreign:posts.id")
    return ForeignKey(table=match["table"], column=match["column"])


def _parse_bound(name: str, info: KindInfo, rule: str, value: str) -> Decimal:
    try:
        number = read_number(value, places=info.places)
    except ValueError as error:
        raise _failure(name, f"{rule} must be {error}, not {value!r}") from None
    if info.lowest is not None and info.highest is not None and not info.lowest <= number <= info.highest:
        raise _failure(name, f"{rule} must be between {info.lowest} and {info.highest}, not {value}")
    return number


def _parse_size(name: str, info: KindInfo, rule: str, value: str) -> int:
    """Characters, or bytes of a file, which may have a unit."""
    is_file = info.postgresql == "jsonb"
    match = re.fullmatch("(?P<number>0|[1-9][0-9]{0,11})(?P<unit>[A-Za-z]*)", value)
    unit = _UNITS.get(match["unit"].upper()) if match and (is_file or not match["unit"]) else None
    if match is None or unit is None:
        raise _failure(
            name, f"{rule} must be a number of {'bytes, such as 500KB or 5MiB' if is_file else 'characters'}"
        )
    size = int(match["number"]) * unit
    if info.most is not None and size > info.most:
        raise _failure(name, f"{rule} must be at most {info.most:,}, not {value}")
    return size
