"""SQL with which statements of other nouns write their own event: no round trip more, and no caller forgets it."""

from kpi_auth.events.models import EventType
from kpi_auth.events.payloads import SCHEMAS

CHANNEL = "kpi_events"
# Sent when the transaction commits, once however often it is called.
NOTIFY = f"pg_notify('{CHANNEL}', '')"


def put_from(source: str, event_type: EventType, *, account: str, data: str) -> str:
    """An INSERT of one event for each row of ``source``; ``account`` and ``data`` are expressions on these rows.

    As a CTE it is executed whether or not the statement reads from it.
    """
    return f"""
        INSERT INTO events (type, schema_version, account_id, data)
        SELECT '{event_type}', {SCHEMAS[event_type].version}, {account}, {data} FROM {source}
        RETURNING {NOTIFY}
    """  # noqa: S608 our own text
