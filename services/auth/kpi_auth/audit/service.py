"""Record events in the audit trail."""

from collections.abc import Mapping

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.audit import repository
from kpi_auth.audit.models import Event
from kpi_auth.context import Context

log = structlog.get_logger("kpi_auth.audit")


async def record(
    context: Context,
    connection: AsyncConnection,
    event: Event,
    *,
    actor_id: int | None = None,
    subject_id: int | None = None,
    details: Mapping[str, object] | None = None,
) -> None:
    """Add a row in the transaction of the caller, and a line to the log.

    ``actor_id`` did it to ``subject_id``; both are the same if users act on their own account. ``details`` contain what
    the name of the event does not say, but never a token, a password, a hash or a code. A ``key_id`` among them is the
    API key that the event is about; otherwise the record has the key of the request.
    """
    who = {"actor_id": actor_id, "subject_id": subject_id}
    more = dict(details or {})
    key = {"key_id": more.get("key_id", context.origin.key_id)}
    await repository.add(connection, {"event": event.value, **who, **key, **context.origin.columns, "details": more})
    write_log_line(context, event, **who, **{**key, **more})


async def record_own(
    context: Context,
    connection: AsyncConnection,
    event: Event,
    *,
    user_id: int,
    details: Mapping[str, object] | None = None,
) -> None:
    """Record what a user did to their own account."""
    await record(context, connection, event, actor_id=user_id, subject_id=user_id, details=details)


def write_log_line(context: Context, event: Event, **values: object) -> None:
    """Write the log line of an event. Each line of the log has the id of the request already."""
    shown = {**context.origin.columns, **values}
    log.info(
        "audit",
        audit_event=event.value,
        **{name: value for name, value in shown.items() if value and name != "request_id"},
    )
