"""Writing down what happened."""

from collections.abc import Mapping

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.audit import repository
from kpi_auth.audit.models import Event
from kpi_auth.audit.origin import Origin

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
    values = {
        "event": event.value,
        "actor_id": actor_id,
        "subject_id": subject_id,
        "address": str(origin.address) if origin.address else None,
        "user_agent": origin.user_agent,
        "request_id": origin.request_id or None,
        "details": dict(details or {}),
    }
    await repository.add(connection, values)
    # The log's own fields carry the request id already.
    shown = {name: value for name, value in values.items() if name not in {"event", "request_id"} and value}
    log.info("audit", audit_event=event.value, **shown)
