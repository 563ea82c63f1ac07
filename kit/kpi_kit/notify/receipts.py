"""What became of the deliveries of a notification."""

from dataclasses import dataclass
from enum import StrEnum

from kpi_kit.notify.contract import Delivery
from kpi_kit.notify.errors import DeliveryError


class Outcome(StrEnum):
    SENT = "sent"
    # A job sends it, and tries again if that fails.
    QUEUED = "queued"
    FAILED = "failed"
    # The recipient has no address for this channel.
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Receipt:
    """What became of one delivery. ``error`` is there if it has failed, ``job_id`` if it was queued."""

    delivery: Delivery
    outcome: Outcome
    error: DeliveryError | None = None
    job_id: int | None = None
