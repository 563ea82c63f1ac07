"""How events look outside: docs/events.md describes them."""

from pydantic_core import to_json

from kpi_auth.events.models import PlacedEvent
from kpi_auth.outlets.models import OutgoingEvent


def render(event: PlacedEvent) -> OutgoingEvent:
    members = event._asdict()
    # It was so old when it was read.
    del members["age"]
    return OutgoingEvent(event.seq, str(event.type), event.schema_version, event.account_id, to_json(members))
