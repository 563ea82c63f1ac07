"""Errors about the feed of events."""

from kpi_shared.errors import ProblemError, UnavailableError


class EventsGoneError(ProblemError):
    status = 410
    type = "events-gone"
    title = "Events after this position are not available: read the whole state"


class FeedNotReadyError(UnavailableError):
    type = "feed-not-ready"
    title = "The feed is still starting"


class ReadOnlyFeedError(UnavailableError):
    """Of the step that reads events, too: what is known does not become younger."""

    type = "feed-read-only"
    title = "The database is read-only, so it may not know the newest events"
