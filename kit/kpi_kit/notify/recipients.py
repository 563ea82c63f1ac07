"""Who gets a notification."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Recipient:
    """``id`` is that of an account, as the database stores it; ``addresses`` has its address for each channel.

    A channel that is not in ``addresses`` is left out, unless it needs no address: the database, which uses the id, and
    channels whose URL says where they send to.
    """

    id: str | None
    addresses: Mapping[str, str] = field(default_factory=dict, repr=False)
    # Only the channels in ``addresses``, whatever ``via`` names.
    is_on_demand: bool = False

    @classmethod
    def on_demand(cls, channel: str, address: str = "") -> "Recipient":
        """An address that belongs to no account. A channel whose URL says where it sends to needs no address."""
        return cls(None, {channel: address}, is_on_demand=True)

    def route(self, channel: str, address: str = "") -> "Recipient":
        """The same recipient with one more address: ``Recipient.on_demand(...).route("sms", "+15550100")``."""
        return Recipient(self.id, {**self.addresses, channel: address}, self.is_on_demand)
