"""The errors of notifications. No text has an address, a URL, or the content of a notification."""

from kpi_kit.errors import DriverUnavailableError, KitError, NotOpenError


class NotifyError(KitError):
    """The base of the errors of notifications."""


class UnknownChannelError(NotifyError):
    """A notification names a channel that the notifier does not have, or the name of a channel has a wrong form."""


class NoContentError(NotifyError):
    """A notification names a channel and has no content for it."""


class InvalidContentError(NotifyError):
    """The content of a notification cannot be sent or stored. Nothing was sent through any channel."""


class NeedsQueueError(NotifyError):
    """A message to the outside was to be a part of a transaction, which only a queue can do."""


class NotifierNotOpenError(NotifyError, NotOpenError):
    """The notifier is used outside its ``async with`` block."""

    def __init__(self) -> None:
        super().__init__("notifier")


class DeliveryError(NotifyError):
    """The base of the errors of one delivery. ``reason`` is for operators."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class DeliveryRefusedError(DeliveryError):
    """The channel refuses the message or its address: another attempt would fail in the same way."""


class ChannelUnavailableError(DeliveryError, DriverUnavailableError):
    """The channel did not accept the message now. It may have it nevertheless."""
