"""What a driver of notifications does: it sends what one delivery says, to one address, through one channel."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from kpi_kit.notify.contents import ContentKind

# For one attempt in all: to resolve, to connect, to send, and to wait for the response.
SEND_SECONDS = 10.0


class Delivery(BaseModel):
    """One notification for one recipient through one channel, rendered. The same ``id`` in all attempts."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    id: str
    channel: str
    # The kind of the notification: "invoice-paid".
    kind: str
    # The id of the recipient; None for an address on demand.
    recipient: str | None
    address: str = Field(repr=False)
    content: dict[str, JsonValue] = Field(repr=False)
    created_at: datetime

    __str__ = BaseModel.__repr__


@dataclass(frozen=True)
class Traits:
    """What a notifier needs to know of a channel."""

    # The label of its metrics: "slack".
    driver: str
    renders: ContentKind
    # It sends to where its URL says, or to the recipient's id.
    needs_address: bool = True
    # It can write in the caller's transaction.
    takes_connection: bool = False


class Channel(Protocol):
    """A driver of notifications."""

    @property
    def traits(self) -> Traits: ...

    async def open(self) -> None:
        """Called once, before the first delivery."""

    async def close(self) -> None:
        """End all connections. Deliveries that run may fail."""

    async def deliver(self, delivery: Delivery, *, connection: object | None = None) -> None:
        """Return once the receiver has accepted it; DeliveryRefusedError or ChannelUnavailableError otherwise.

        Any other error is taken for one that may pass. ``connection`` is given only to a channel that takes one. An
        attempt has a bound, SEND_SECONDS unless given.
        """


class NotificationStore(Protocol):
    """What the database channel needs of a table of notifications, whose SQL stands with its owner."""

    async def add(
        self,
        *,
        delivery_id: str,
        recipient: str,
        kind: str,
        data: dict[str, JsonValue],
        connection: object | None = None,
    ) -> None:
        """Add an unread notification; in the open transaction of ``connection`` if there is one.

        A second call with the same ``delivery_id`` changes nothing: an attempt whose end was not seen is made again.
        ValueError if this cannot be the id of a recipient; any other error may pass.
        """
