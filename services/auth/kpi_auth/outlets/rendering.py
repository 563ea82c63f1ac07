"""How events look outside: docs/events.md describes them."""

from pydantic_core import to_json

from kpi_auth.events.models import PlacedEvent
from kpi_auth.outlets.models import OutgoingEvent


def render(event: PlacedEvent) -> OutgoingEvent:
    members = event._asdict()
    # The age at the time of reading is outdated when the event is sent.
    del members["age"]
    return OutgoingEvent(event.seq, str(event.type), event.schema_version, event.account_id, to_json(members))
