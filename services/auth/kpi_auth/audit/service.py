"""Writing down what happened, and reading it."""

from collections.abc import Mapping

import structlog
from kpi_shared.cursors import CursorSealer
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.audit import repository
from kpi_auth.audit.models import Event
from kpi_auth.audit.origin import Origin
from kpi_auth.audit.schemas import POSITION_BYTES, AuditEntry, AuditPage, AuditQuery

log = structlog.get_logger("kpi_auth.audit")


async def record(
    connection: AsyncConnection,
    event: Event,
    *,
    origin: Origin,
    actor_id: int | None = None,
    subject_id: int | None = None,
    details: Mapping[str, object] | None = None,
) -> None:
    """Add a row in the caller's transaction, and a line to the log.

    ``actor_id`` did it to ``subject_id``; both are the same where people act on themselves. ``details`` hold what the
    event's name does not say: never a token, a password, a hash or a code.
    """
    who = {"actor_id": actor_id, "subject_id": subject_id}
    more = dict(details or {})
    await repository.add(connection, {"event": event.value, **who, **origin.columns, "details": more})
    say(event, origin=origin, **who, **more)


def say(event: Event, *, origin: Origin, **values: object) -> None:
    """The log's line about what is recorded. The request's id is in each line of the log already."""
    shown = {name: value for name, value in {**origin.columns, **values}.items() if value and name != "request_id"}
    log.info("audit", audit_event=event.value, **shown)


async def page(connection: AsyncConnection, query: AuditQuery, cursors: CursorSealer) -> AuditPage:
    """One page of the records, and the cursor of the next."""
    filters = query.filters
    # A cursor goes on in the list that it came from, and in no other.
    of = f"audit\n{sorted(filters.items())!r}"
    if query.cursor is not None:
        filters |= {"before": int.from_bytes(cursors.open(query.cursor, of=of), "big")}
    rows = await repository.page(connection, filters=filters, limit=query.limit + 1)
    items = [AuditEntry.model_validate(row, from_attributes=True) for row in rows[: query.limit]]
    if len(rows) <= query.limit:
        return AuditPage(items=items, next=None)
    return AuditPage(items=items, next=cursors.seal(items[-1].id.to_bytes(POSITION_BYTES, "big"), of=of))
