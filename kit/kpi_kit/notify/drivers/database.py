"""The channel that writes notifications into a table, which the recipient reads."""

import asyncio

from kpi_kit.notify.contents import ContentKind, DatabaseContent
from kpi_kit.notify.contract import Delivery, NotificationStore, Traits
from kpi_kit.notify.errors import ChannelUnavailableError, DeliveryRefusedError


class DatabaseChannel:
    """Writes into a store, which its owner opens and closes."""

    traits = Traits("database", ContentKind.DATABASE, needs_address=False, takes_connection=True)

    def __init__(self, store: NotificationStore, seconds: float) -> None:
        self._store = store
        self._seconds = seconds

    async def open(self) -> None:
        """The store is open."""

    async def close(self) -> None:
        """The store stays open."""

    async def deliver(self, delivery: Delivery, *, connection: object | None = None) -> None:
        if connection is not None:
            # An error there ends the caller's transaction, so the caller must see it as it is.
            await self._add(delivery, connection)
            return
        try:
            async with asyncio.timeout(self._seconds):
                await self._add(delivery, None)
        except TimeoutError:
            raise ChannelUnavailableError(f"the store did not respond within {self._seconds:g} seconds") from None

    async def _add(self, delivery: Delivery, connection: object | None) -> None:
        recipient = delivery.recipient or delivery.address
        data = DatabaseContent.model_validate(delivery.content).data
        try:
            await self._store.add(
                delivery_id=delivery.id, recipient=recipient, kind=delivery.kind, data=data, connection=connection
            )
        except ValueError:
            raise DeliveryRefusedError("the store of notifications has no recipient with this id") from None
