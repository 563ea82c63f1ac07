"""The names of constraints, and the types of what statements take and return."""

from typing import Any

from sqlalchemy import MetaData, Row

# Constraints are named after their kind, table and columns, so that code and migrations can refer to them.
NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
MAX_ID = 2**63 - 1

# A row from which a response schema takes columns by name.
AnyRow = Row[*tuple[Any, ...]]


def named_metadata() -> MetaData:
    return MetaData(naming_convention=NAMING_CONVENTION)
