"""The message that a receiver gets for an event: its body, and the header fields that identify and sign it."""

import json
import time
from datetime import UTC

from kpi_kit.signatures import sign

from kpi_auth.events.models import PlacedEvent
from kpi_auth.webhooks.models import LeasedDelivery
from kpi_auth.webhooks.signatures import SecretSealer


def render_body(event: PlacedEvent) -> bytes:
    """The members that the Standard Webhooks specification recommends, then further ones of the feed of events."""
    moment = event.occurred_at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    body = {
        "type": str(event.type),
        "timestamp": moment,
        "data": event.data,
        "seq": event.seq,
        "schema_version": event.schema_version,
        "account_id": event.account_id,
    }
    return json.dumps(body, separators=(",", ":")).encode()


def sign_body(sealer: SecretSealer, delivery: LeasedDelivery, body: bytes) -> dict[str, str]:
    """The header fields. The id is the same for each attempt, so that receivers recognise repetitions."""
    sealed = [delivery.secret, delivery.previous_secret]
    secrets = [sealer.open(secret) for secret in sealed if secret is not None]
    return sign(body, message_id=f"evt_{delivery.seq}", timestamp=int(time.time()), secrets=secrets)
