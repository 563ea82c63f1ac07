"""What code_of starts from: the parts of a field's code that depend on its kind alone, before its rules."""

from dataclasses import dataclass, field
from typing import Any

from kpi_cli.generate.fields.code import Filter


@dataclass(frozen=True, kw_only=True)
class KindCode:
    """``sql_type`` is the expression of the column's type, ``checks`` are its constraints; the rest as in FieldCode."""

    python_type: str
    sql_type: str
    checks: tuple[str, ...] = ()
    constants: tuple[str, ...] = ()
    model_names: tuple[str, ...] = ()
    model_imports: frozenset[str] = field(default=frozenset())

    sent_type: str
    shown_type: str
    schema_imports: frozenset[str] = field(default=frozenset())

    examples: tuple[Any, Any]
    sample: str
    accepted: tuple[Any, ...] = ()
    refused: tuple[Any, ...] = ()
    shown_as: tuple[tuple[Any, Any], ...] = ()

    sort_type: str | None = None
    filter: Filter | None = None
    filter_type: str | None = None
    is_searchable: bool = False


CHECKS = "from kpi_shared.fields.checks import"
TEXT = "from sqlalchemy import Text"
ANNOTATED = "from typing import Annotated"
CONSTRAINTS = "from pydantic import StringConstraints"
