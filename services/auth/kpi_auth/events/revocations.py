"""Which tokens events make invalid: by number, not by time.

The clocks of replicas differ, and a change is committed later than it happens.
"""

from kpi_auth.events.models import EventType, PlacedEvent
from kpi_auth.events.payloads import SCHEMAS, AccountState

# A token may be minted from what was read before the change was committed: so long after the event, at most.
COMMIT_SECONDS = 120.0
# Nothing that a token says is changed by these, or there is no earlier token.
_HARMLESS = {EventType.ACCOUNT_CREATED, EventType.ACCOUNT_CHANGED}
# Tokens of an earlier version of the account are invalid.
ACCOUNT_TYPES = tuple(
    event_type for event_type, schema in SCHEMAS.items() if schema.model is AccountState and event_type not in _HARMLESS
)
# Those that make tokens invalid, or valid again, for as long as a token may live.
PASSING_TYPES = (
    *ACCOUNT_TYPES,
    *(EventType.SESSION_ENDED, EventType.SESSIONS_ENDED, EventType.API_KEY_ENDED, EventType.API_KEY_ACTIVATED),
)


def seconds_left(event: PlacedEvent, *, lifetime: float) -> float | None:
    """For how long there may be unexpired tokens that the event makes invalid; None: for ever, or it makes none so."""
    return max(round(lifetime - event.age, 1), 0.0) if event.type in PASSING_TYPES else None
