"""The SQL of the audit table."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from kpi_shared.database import AnyRow
from sqlalchemy import ColumnElement, DateTime, Select, and_, bindparam, func, insert, literal_column, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from kpi_auth.audit.filters import AuditFilter
from kpi_auth.audit.models import AuditEvent

_add = insert(AuditEvent)
# The beginning of an INSERT for statements of other nouns that record their own change, which saves a round trip.
RECORD = "INSERT INTO audit_events (event, actor_id, subject_id, address, user_agent, request_id, details)"
_table = AuditEvent.__table__  # type: ignore[attr-defined]
_at = col(AuditEvent.at)
# Python knows the years 1 to 9999. Only the owner of the database can write others: a list shows the nearest time for
# them, and leaves them out where it is sorted by time, since they have no position there.
_FIRST: ColumnElement[datetime] = literal_column("timestamptz '0001-01-02 UTC'")
_LAST: ColumnElement[datetime] = literal_column("timestamptz '9999-12-30 UTC'")
_is_in_range = and_(_at >= _FIRST, _at <= _LAST)
_shown_at = func.greatest(func.least(_at, _LAST), _FIRST, type_=DateTime(timezone=True)).label("at")
# The hash is for the chain alone.
_columns = [_shown_at if column.name == "at" else column for column in _table.columns if column.name != "hash"]
_conditions = {
    "event": col(AuditEvent.event) == bindparam("event"),
    "actor_id": col(AuditEvent.actor_id) == bindparam("actor_id"),
    "subject_id": col(AuditEvent.subject_id) == bindparam("subject_id"),
    "key_id": col(AuditEvent.key_id) == bindparam("key_id"),
    "address": col(AuditEvent.address) == bindparam("address"),
    "since": _at >= bindparam("since"),
    "until": _at < bindparam("until"),
}


async def add(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    await connection.execute(_add, values)


async def add_all(connection: AsyncConnection, values: Sequence[Mapping[str, Any]]) -> None:
    """Add many records, which all have the same columns."""
    await connection.execute(_add, values)


async def get_page(
    connection: AsyncConnection, *, audit_filter: AuditFilter, before: Sequence[Any] | None, limit: int
) -> Sequence[AnyRow]:
    """Get the newest records that match; ``before`` is the position at which the previous page ended."""
    statement, values = build_page(audit_filter, before=before, limit=limit)
    return (await connection.execute(statement, values)).all()


def build_page(
    audit_filter: AuditFilter, *, before: Sequence[Any] | None, limit: int
) -> tuple[Select[*tuple[Any, ...]], dict[str, Any]]:
    """The statement of a page and its values."""
    names = audit_filter.position_names
    position = {f"before_{name}": value for name, value in zip(names, before or (), strict=bool(before))}
    statement = _build_page_statement(frozenset(audit_filter.values), names, continues=bool(position))
    return statement, {**audit_filter.values, **position, "limit": limit}


@cache
def _build_page_statement(
    filters: frozenset[str], order: tuple[str, ...], *, continues: bool
) -> Select[*tuple[Any, ...]]:
    """One statement for each set of filters, so that each has its own plan."""
    position = [_table.c[name] for name in order]
    statement = select(*_columns).where(*(_conditions[name] for name in sorted(filters)))
    if "at" in order:
        statement = statement.where(_is_in_range)
    if continues:
        statement = statement.where(tuple_(*position) < tuple_(*(bindparam(f"before_{name}") for name in order)))
    return statement.order_by(*(column.desc() for column in position)).limit(bindparam("limit"))
