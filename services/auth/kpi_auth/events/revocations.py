"""Which tokens events make invalid: by number, not by time.

The clocks of replicas differ, and a change is committed later than it happens.
"""

from collections.abc import Iterable
from typing import Any

from kpi_auth.events.models import Event, EventType
from kpi_auth.events.payloads import SCHEMAS, AccountState

# A token may be minted from what was read before the change was committed: so long after the event, at most.
COMMIT_SECONDS = 120.0
_OF_ACCOUNTS = {
    event_type
    for event_type, schema in SCHEMAS.items()
    if schema.model is AccountState and event_type is not EventType.ACCOUNT_CREATED
}
# Those that make tokens invalid, or valid again, for as long as a token may live.
PASSING_TYPES = (
    *sorted(_OF_ACCOUNTS),
    *(EventType.SESSION_ENDED, EventType.SESSIONS_ENDED, EventType.API_KEY_ENDED, EventType.API_KEY_ACTIVATED),
)
_Key = tuple[str, str | int]


def seconds_left(event: Event, *, lifetime: float) -> float | None:
    """For how long there may be unexpired tokens that the event makes invalid; None: for ever, or it makes none so."""
    return max(round(lifetime - event.age, 1), 0.0) if event.type in PASSING_TYPES else None


def fold(events: Iterable[Event], *, lifetime: float) -> list[dict[str, Any]]:
    """What the events together make invalid, in their order; of several about one account, the last."""
    found: dict[_Key, dict[str, Any]] = {}
    for event in events:
        for revocation in _revocations_of(event, seconds=seconds_left(event, lifetime=lifetime)):
            key = (revocation["kind"], revocation["id"])
            found.pop(key, None)
            found[key] = revocation
        if event.type is EventType.API_KEY_ACTIVATED:
            found.pop(("session", f"key-{event.data['api_key_id']}"), None)
    return list(found.values())


def _revocations_of(event: Event, *, seconds: float | None) -> list[dict[str, Any]]:
    data = event.data
    match event.type:
        case EventType.SESSION_ENDED:
            return [_of_session(str(data["session_id"]), seconds)]
        case EventType.SESSIONS_ENDED:
            return [_of_session(str(session_id), seconds) for session_id in data["session_ids"]]
        case EventType.API_KEY_ENDED:
            return [_of_session(f"key-{data['api_key_id']}", seconds)]
        case EventType.KEY_KILLED:
            return [{"kind": "kid", "id": data["kid"], "seconds": None}]
        case event_type if event_type in _OF_ACCOUNTS:
            return [{"kind": "account", "id": data["id"], "version": data["version"], "seconds": seconds}]
        case _:
            return []


def _of_session(session_id: str, seconds: float | None) -> dict[str, Any]:
    return {"kind": "session", "id": session_id, "seconds": seconds}
