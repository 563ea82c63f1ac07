"""Whether a field can refer to a column, as the models of its table say."""

import ast
from collections.abc import Iterator

from kpi_cli.errors import FailureError
from kpi_cli.generate.specs import FieldSpec, Kind

_TYPES = {
    Kind.INTEGER: "Integer",
    Kind.BIGINT: "BigInteger",
    Kind.STRING: "Text",
    Kind.SLUG: "Text",
    Kind.UUID: "Uuid",
}
_KINDS = {"Integer": "integer", "BigInteger": "bigint", "Text": "string or slug", "Uuid": "uuid"}


def check_reference(field: FieldSpec, models: str) -> None:
    """FailureError unless ``models``, the text of the module with the table, has such a column with unique values."""
    assert field.foreign is not None  # noqa: S101 the caller asks for no other field
    table, name = field.foreign.table, field.foreign.column
    owner = next((each for each in ast.walk(ast.parse(models)) if _has_table(each, table)), None)
    if not isinstance(owner, ast.ClassDef):
        return
    column = next((each for each in owner.body if _is_column(each, name)), None)
    if column is None:
        raise FailureError(f"field {field.name}", f"the table {table} has no column {name}", code=2)
    found, expected = _type_of(column), _TYPES[field.kind]
    if found in _KINDS and found != expected:
        sentence = f"{table}.{name} is a {_KINDS[found]}, and {field.kind} is not"
        raise FailureError(f"field {field.name}", sentence, fix=f"use the kind {_KINDS[found]}", code=2)
    if not _is_unique(owner, column, name):
        sentence = f"{table}.{name} is not unique, so that no row can be named by it"
        raise FailureError(f"field {field.name}", sentence, code=2)


def _has_table(node: ast.AST, table: str) -> bool:
    return isinstance(node, ast.ClassDef) and any(
        isinstance(each, ast.Assign)
        and any(isinstance(target, ast.Name) and target.id == "__tablename__" for target in each.targets)
        and isinstance(each.value, ast.Constant)
        and each.value.value == table
        for each in node.body
    )


def _is_column(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name


def _names(node: ast.AST) -> Iterator[str]:
    yield from (each.id for each in ast.walk(node) if isinstance(each, ast.Name))


def _type_of(column: ast.stmt) -> str | None:
    names = [*_names(column)]
    # The id of a row, by the function of the shared library.
    return "BigInteger" if "row_id" in names else next((name for name in names if name in _KINDS), None)


def _is_unique(owner: ast.ClassDef, column: ast.stmt, name: str) -> bool:
    flags = {
        each.arg for each in ast.walk(column) if isinstance(each, ast.keyword) and ast.unparse(each.value) == "True"
    }
    constraint = f"UniqueConstraint('{name}')"
    return "row_id" in _names(column) or bool(flags & {"primary_key", "unique"}) or constraint in ast.unparse(owner)
