"""Why auth's feed cannot be followed."""


class FeedError(Exception):
    """An address of the feed failed; the message is a sentence for operators and contains nothing that it sent."""


class EventsGoneError(FeedError):
    """Events after the place that was asked for have been deleted: what was built from them must be built anew."""
