"""The errors of the event bus. None quotes an event or a URL."""

from kpi_kit.errors import DriverUnavailableError, KitError


class EventError(KitError):
    """The base of all errors of the event bus, and a mistake in how it is used."""


class EventsUnavailableError(EventError, DriverUnavailableError):
    """The event was not acknowledged: the server did not respond in time, or cannot store it now."""


class EventsSchemaError(EventError):
    """The database has no tables of events, or those of an earlier version."""

    def __init__(self) -> None:
        super().__init__(
            "the tables of events are missing or older than this kit: run kpi_kit.events.drivers.postgresql.TABLES in "
            "a migration"
        )


class EventTooLargeError(EventError, ValueError):
    """An event is a message, not a file."""

    def __init__(self, most: int) -> None:
        super().__init__(f"an event has at most {most:,} bytes of JSON here: send the id of what is larger")


class InvalidEventError(EventError, ValueError):
    """A value of the event would not come back from JSON as it was."""


class EventNameError(EventError, ValueError):
    """The name of an event, or a pattern of names, has a form that is not allowed."""


class UnknownEventError(EventError, LookupError):
    """The type of the event is not among those that were given to ``from_url``."""
