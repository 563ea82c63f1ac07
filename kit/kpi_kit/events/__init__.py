"""An event bus: what happened, for listeners in this process or in others."""

from kpi_kit.events.bus import EventBus
from kpi_kit.events.errors import (
    EventError,
    EventNameError,
    EventsSchemaError,
    EventsUnavailableError,
    EventTooLargeError,
    InvalidEventError,
    UnknownEventError,
)
from kpi_kit.events.event import Event
from kpi_kit.events.fake import EventFake
from kpi_kit.events.listeners import Failure, listens

__all__ = [
    "Event",
    "EventBus",
    "EventError",
    "EventFake",
    "EventNameError",
    "EventTooLargeError",
    "EventsSchemaError",
    "EventsUnavailableError",
    "Failure",
    "InvalidEventError",
    "UnknownEventError",
    "listens",
]
