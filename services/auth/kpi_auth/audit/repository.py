"""The SQL of the audit table."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from kpi_shared.database import AnyRow
from sqlalchemy import Select, bindparam, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from kpi_auth.audit.filters import AuditFilter
from kpi_auth.audit.models import AuditEvent

_add = insert(AuditEvent)
# The beginning of an INSERT for statements of other nouns that record their own change, which saves a round trip.
RECORD = "INSERT INTO audit_events (event, actor_id, subject_id, address, user_agent, request_id, details)"
_at = col(AuditEvent.at)
_conditions = {
    "event": col(AuditEvent.event) == bindparam("event"),
    "actor_id": col(AuditEvent.actor_id) == bindparam("actor_id"),
    "subject_id": col(AuditEvent.subject_id) == bindparam("subject_id"),
    "address": col(AuditEvent.address) == bindparam("address"),
    "since": _at >= bindparam("since"),
    "until": _at < bindparam("until"),
    "before": col(AuditEvent.id) < bindparam("before"),
}


async def add(connection: AsyncConnection, values: Mapping[str, Any]) -> None:
    await connection.execute(_add, values)


async def get_page(
    connection: AsyncConnection, *, audit_filter: AuditFilter, before: int | None, limit: int
) -> Sequence[AnyRow]:
    """Get the newest records that match; ``before`` is the id at which the previous page ended."""
    values = dict(audit_filter.values) if before is None else {**audit_filter.values, "before": before}
    return (await connection.execute(_build_page_statement(frozenset(values)), {**values, "limit": limit})).all()


@cache
def _build_page_statement(filters: frozenset[str]) -> Select[*tuple[Any, ...]]:
    """One statement for each set of filters, so that each has its own plan."""
    conditions = [_conditions[name] for name in sorted(filters)]
    statement = select(*AuditEvent.__table__.columns).where(*conditions)  # type: ignore[attr-defined]
    return statement.order_by(col(AuditEvent.id).desc()).limit(bindparam("limit"))
