"""Errors about the feed of events."""

from kpi_shared.errors import ProblemError, UnavailableError


class EventsGoneError(ProblemError):
    status = 410
    type = "events-gone"
    title = "Events after this place are no longer, or not, kept: read the whole state"


class FeedNotReadyError(UnavailableError):
    type = "feed-not-ready"
    title = "This process has not read the events yet"
