"""From a field that was asked for to its code."""

import json
from collections.abc import Callable
from typing import Any

from kpi_cli.errors import FailureError
from kpi_cli.generate.fields.code import FieldCode
from kpi_cli.generate.fields.enums import name_members
from kpi_cli.generate.fields.kind_code import KindCode
from kpi_cli.generate.fields.numbers import code_fixed, code_float, code_integer
from kpi_cli.generate.fields.others import (
    IS_FILE,
    SIMPLE,
    code_enum,
    code_file,
    code_ip,
    enum_class,
)
from kpi_cli.generate.fields.printing import Raw, imports_of, print_call, print_value, to_json_value
from kpi_cli.generate.fields.texts import code_form, code_slug, code_string, code_text
from kpi_cli.generate.fields.values import read_default
from kpi_cli.generate.fields.words import MAX_IDENTIFIER
from kpi_cli.generate.specs import FieldSpec, Kind, Names

_LONGEST_AFFIXES = len("ck___length")
_CODES: dict[Kind, Callable[[FieldSpec], KindCode]] = {
    Kind.STRING: code_string,
    Kind.TEXT: code_text,
    Kind.SLUG: code_slug,
    Kind.EMAIL: code_form,
    Kind.URL: code_form,
    Kind.PHONE: code_form,
    Kind.COLOR: code_form,
    Kind.INTEGER: code_integer,
    Kind.BIGINT: code_integer,
    Kind.FLOAT: code_float,
    Kind.DECIMAL: code_fixed,
    Kind.MONEY: code_fixed,
    Kind.PERCENT: code_fixed,
    Kind.IP: code_ip,
    Kind.FILE: code_file,
    Kind.IMAGE: code_file,
}


def code_of(spec: FieldSpec, names: Names, *, soft_deletes: bool = False) -> FieldCode:
    """The code of a field of any kind but the owner. With soft deletes, the deleted rows keep no unique value taken."""
    if len(names.plural) + len(spec.name) + _LONGEST_AFFIXES > MAX_IDENTIFIER:
        sentence = f"the names of its constraints in {names.plural} would be longer than {MAX_IDENTIFIER} bytes"
        raise FailureError(f"field {spec.name}", sentence, fix="choose a shorter name", code=2)
    kind = _code_of_kind(spec, names)
    is_nullable = spec.nullable
    indexes, index_imports = _print_indexes(spec, names, soft_deletes=soft_deletes)
    default, default_imports = _print_default(spec, names)
    none = " | None" if is_nullable else ""
    return FieldCode(
        name=spec.name,
        title=spec.name.replace("_", " "),
        model_type=f"{kind.python_type}{none if kind.python_type != 'Any' else ''}",
        model_value=_print_column(spec, kind),
        table_args=(*kind.checks, *indexes),
        model_imports=kind.model_imports | index_imports | {"from sqlmodel import Field"},
        model_constants=kind.constants,
        model_names=kind.model_names,
        sent_type=kind.sent_type,
        is_nullable=is_nullable,
        default=default,
        shown_type=f"{kind.shown_type}{none}",
        schema_imports=kind.schema_imports | default_imports,
        example=kind.examples[0],
        other_example=kind.examples[1],
        sample=kind.sample,
        accepted=kind.accepted,
        refused=kind.refused if is_nullable or spec.kind in IS_FILE else (*kind.refused, None),
        shown_as=kind.shown_as,
        sort_type=kind.sort_type,
        filter=kind.filter,
        filter_type=kind.filter_type if kind.filter else None,
        is_searchable=kind.is_searchable,
        is_unique=spec.unique,
        foreign_table=spec.foreign.table if spec.foreign else None,
        is_file=spec.kind in IS_FILE,
        is_image=spec.kind is Kind.IMAGE,
    )


def _code_of_kind(spec: FieldSpec, names: Names) -> KindCode:
    if spec.kind is Kind.ENUM:
        return code_enum(spec, names)
    return SIMPLE[spec.kind] if spec.kind in SIMPLE else _CODES[spec.kind](spec)


def _print_column(spec: FieldSpec, kind: KindCode) -> str:
    """``Field(...)`` of SQLModel."""
    keywords: dict[str, Any] = {}
    if spec.nullable:
        keywords["default"] = Raw("None")
    keywords["sa_type"] = Raw(kind.sql_type)
    if kind.python_type == "Any":
        # Of this type, SQLModel cannot tell.
        keywords["nullable"] = spec.nullable
    if spec.foreign:
        keywords["foreign_key"] = f"{spec.foreign.table}.{spec.foreign.column}"
        keywords["ondelete"] = "CASCADE" if spec.foreign.cascades else None
    # Alembic compares a text with an apostrophe wrongly; such a default is the one of the request's body alone.
    if spec.default is not None and "'" not in (default := _server_default(read_default(spec))):
        keywords["sa_column_kwargs"] = {"server_default": default}
    return print_call("Field", **keywords)


def _server_default(value: object) -> str:
    """The text of the value, which SQLAlchemy quotes, and PostgreSQL reads as the column's type."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return json.dumps(value)
    return str(to_json_value(value))


def _print_indexes(spec: FieldSpec, names: Names, *, soft_deletes: bool) -> tuple[tuple[str, ...], set[str]]:
    if spec.unique and soft_deletes:
        where = Raw('text("deleted_at IS NULL")')
        index = print_call("Index", f"uq_{names.plural}_{spec.name}", spec.name, unique=True, postgresql_where=where)
        return (index,), {"from sqlalchemy import Index, text"}
    if spec.unique:
        return (print_call("UniqueConstraint", spec.name),), {"from sqlalchemy import UniqueConstraint"}
    if spec.index or spec.foreign:
        # With the id, as lists are sorted.
        index = print_call("Index", f"ix_{names.plural}_{spec.name}", spec.name, "id")
        return (index,), {"from sqlalchemy import Index"}
    return (), set()


def _print_default(spec: FieldSpec, names: Names) -> tuple[str | None, frozenset[str]]:
    if spec.default is None:
        return ("None" if spec.nullable else None), frozenset()
    if spec.kind is Kind.ENUM:
        [member] = name_members(spec.name, [spec.default])
        return f"{enum_class(spec, names)}.{member}", frozenset()
    value = read_default(spec)
    return print_value(value), imports_of(value)
