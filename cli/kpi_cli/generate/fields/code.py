"""The code of one field: what the templates of a resource print for it."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Filter(StrEnum):
    """The query parameters of a list for a field."""

    # ?status=open
    EXACT = "exact"
    # ?price_from=1&price_to=5, both inclusive
    RANGE = "range"


@dataclass(frozen=True, kw_only=True)
class FieldCode:
    """Python expressions as texts, and JSON values for examples and tests.

    Imports are whole lines, ``from decimal import Decimal``; the formatter sorts and merges them.
    """

    name: str
    # A sentence of a test or a message: "price".
    title: str

    # models.py: ``price: Decimal = Field(sa_type=Numeric(12, 2))``. Constraints and indexes are expressions of
    # __table_args__, with names.
    model_type: str
    model_value: str
    table_args: tuple[str, ...] = ()
    model_imports: frozenset[str] = field(default=frozenset())
    # The constants and classes of the module, such as ``MAX_TITLE = 200`` and the StrEnum of the choices.
    model_constants: tuple[str, ...] = ()
    # The names among them that schemas.py imports from models.py.
    model_names: tuple[str, ...] = ()

    # schemas.py: the type of a value that is sent, without None. ``shown_type`` is with it.
    sent_type: str
    is_nullable: bool
    # An expression; None: a create must name it.
    default: str | None
    shown_type: str
    schema_imports: frozenset[str] = field(default=frozenset())

    # JSON values. ``sample`` is a Python expression of a valid one that differs for each integer ``number`` from 0 on,
    # where the field has so many. What is accepted is shown as it was sent.
    example: Any
    other_example: Any
    sample: str
    accepted: tuple[Any, ...] = ()
    refused: tuple[Any, ...] = ()
    # How a value that is sent is shown, where that differs: ("12.5", "12.50").
    shown_as: tuple[tuple[Any, Any], ...] = ()

    # Lists. ``sort_type`` is the type of the position in kpi_shared.paging: int, float, datetime or str.
    sort_type: str | None = None
    filter: Filter | None = None
    filter_type: str | None = None
    is_searchable: bool = False
    is_unique: bool = False
    foreign_table: str | None = None
    # A file or an image: it is uploaded, and no part of a body. The constant of its limit is MAX_ and its name.
    is_file: bool = False
    is_image: bool = False
