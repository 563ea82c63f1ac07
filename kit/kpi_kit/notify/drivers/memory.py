"""A channel that keeps what it is given: for tests, and for a first look."""

from kpi_kit.errors import UrlError
from kpi_kit.notify.contents import ContentKind
from kpi_kit.notify.contract import Delivery, Traits
from kpi_kit.notify.errors import DeliveryError
from kpi_kit.urls import Url


class MemoryChannel:
    """``deliveries`` has what was accepted. While ``error`` is set, each attempt fails with it."""

    def __init__(self, renders: ContentKind) -> None:
        is_database = renders is ContentKind.DATABASE
        self.traits = Traits("memory", renders, needs_address=renders in _ADDRESSED, takes_connection=is_database)
        self.deliveries: list[Delivery] = []
        self.error: DeliveryError | None = None

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def deliver(self, delivery: Delivery, *, connection: object | None = None) -> None:  # noqa: ARG002 kept at once
        if self.error is not None:
            raise self.error
        if delivery.id not in {known.id for known in self.deliveries}:
            self.deliveries.append(delivery)


_ADDRESSED = {ContentKind.MAIL, ContentKind.SMS, ContentKind.WEBHOOK}


def create_driver(parts: Url, _seconds: float) -> MemoryChannel:
    if parts.host not in set(ContentKind):
        raise UrlError(f"memory:// is followed by what the channel sends: {', '.join(ContentKind)}")
    return MemoryChannel(ContentKind(parts.host))
