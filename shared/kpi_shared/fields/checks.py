"""CHECK constraints of a column, for ``__table_args__``. The names are completed by kpi_shared.database.names."""

from decimal import Decimal
from enum import StrEnum

from sqlalchemy import CheckConstraint, ColumnElement, and_, column, func, literal_column
from sqlalchemy.dialects.postgresql import INET

Number = int | float | Decimal


def check_length(name: str, *, least: int = 0, most: int) -> CheckConstraint:
    """In characters."""
    length = func.length(column(name))
    is_allowed = length <= literal_column(str(most))
    if least:
        is_allowed = and_(length >= literal_column(str(least)), is_allowed)
    return CheckConstraint(is_allowed, name=f"{name}_length")


def check_range(
    name: str, *, ge: Number | None = None, gt: Number | None = None, le: Number | None = None, lt: Number | None = None
) -> CheckConstraint:
    """Bounds that are part of the range, ``ge`` and ``le``, and bounds that are not."""
    bounded: ColumnElement[Number] = column(name)
    conditions = []
    if ge is not None:
        conditions.append(bounded >= _literal(ge))
    if gt is not None:
        conditions.append(bounded > _literal(gt))
    if le is not None:
        conditions.append(bounded <= _literal(le))
    if lt is not None:
        conditions.append(bounded < _literal(lt))
    return CheckConstraint(and_(*conditions), name=f"{name}_range")


def _literal(number: Number | str) -> ColumnElement[Number]:
    return literal_column(str(number))


def check_finite(name: str) -> CheckConstraint:
    """No infinity, and no NaN, which PostgreSQL takes for greater than any number."""
    value: ColumnElement[Number] = column(name)
    is_finite = and_(value > _literal("'-Infinity'"), value < _literal("'Infinity'"))
    return CheckConstraint(is_finite, name=f"{name}_finite")


def check_choice(name: str, choices: type[StrEnum]) -> CheckConstraint:
    listed = ", ".join("'{}'".format(choice.value.replace("'", "''")) for choice in choices)
    return CheckConstraint(column(name).in_([literal_column(listed)]), name=f"{name}_choice")


def check_pattern(name: str, pattern: str, *, most: int | None = None) -> CheckConstraint:
    """A regular expression that Python and PostgreSQL read alike; ``most`` characters where it has no limit itself."""
    is_allowed: ColumnElement[bool] = column(name).op("~")(literal_column("'{}'".format(pattern.replace("'", "''"))))
    if most is not None:
        is_allowed = and_(is_allowed, func.length(column(name)) <= literal_column(str(most)))
    return CheckConstraint(is_allowed, name=f"{name}_form")


def check_host(name: str) -> CheckConstraint:
    """An address without a network: of type inet, 192.0.2.1/24 is a value too."""
    address: ColumnElement[str] = column(name)
    return CheckConstraint(func.host(address).cast(INET) == address, name=f"{name}_host")
