"""A notifier for tests: it plans, renders and fails as the real one does, and keeps what it would send."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from pydantic import SecretStr

from kpi_kit.ciphers import Cipher
from kpi_kit.notify.channels import build_channel
from kpi_kit.notify.contents import ContentKind
from kpi_kit.notify.contract import SEND_SECONDS, Delivery
from kpi_kit.notify.drivers.memory import MemoryChannel
from kpi_kit.notify.errors import DeliveryError
from kpi_kit.notify.jobs import Jobs
from kpi_kit.notify.notification import Notification
from kpi_kit.notify.notifier import Notifier
from kpi_kit.notify.receipts import Outcome, Receipt
from kpi_kit.notify.recipients import Recipient

_USUAL = {kind.value: kind for kind in ContentKind}


@dataclass(frozen=True)
class SentNotification:
    """A notification that was sent, the recipient, and what became of each delivery to this recipient."""

    notification: Notification
    recipient: Recipient
    receipts: tuple[Receipt, ...]

    @property
    def channels(self) -> list[str]:
        """Through which it was sent, or is waiting to be sent."""
        accepted = (Outcome.SENT, Outcome.QUEUED)
        return [receipt.delivery.channel for receipt in self.receipts if receipt.outcome in accepted]


class NotifyFake(Notifier):
    """It has a channel for each kind of content, by its name: mail, database, slack, sms, webhook and text.

    ``more`` are further channels, each with what it sends: ``{"alerts": ContentKind.SLACK}``.
    """

    def __init__(
        self, *, more: dict[str, ContentKind] | None = None, queue: Jobs | None = None, cipher: Cipher | None = None
    ) -> None:
        self._memory = {name: MemoryChannel(kind) for name, kind in {**_USUAL, **(more or {})}.items()}
        self.sent: list[SentNotification] = []
        super().__init__(self._memory, queue=queue, cipher=cipher)

    @classmethod
    def from_urls(
        cls,
        urls: Mapping[str, str | SecretStr],
        *,
        queue: Jobs | None = None,
        cipher: Cipher | None = None,
        **_others: object,
    ) -> Self:
        """A fake with the kinds of content of these URLs, so that a test can put this class in the real one's place."""
        kinds = {name: build_channel(url, SEND_SECONDS).traits.renders for name, url in urls.items()}
        return cls(more=kinds, queue=queue, cipher=cipher)

    @property
    def deliveries(self) -> list[Delivery]:
        """What the channels have accepted, by channel. Jobs of a queue come here when they are run."""
        return [delivery for channel in self._memory.values() for delivery in channel.deliveries]

    def fail(self, channel: str, error: DeliveryError | None) -> None:
        """Let each attempt through this channel fail with the error; None lets it work again."""
        self._memory[channel].error = error

    async def send(
        self,
        notification: Notification,
        to: Recipient | Iterable[Recipient],
        *,
        connection: object | None = None,
    ) -> list[Receipt]:
        """As the real one."""
        recipients = [to] if isinstance(to, Recipient) else list(to)
        receipts = await super().send(notification, recipients, connection=connection)
        rest = iter(receipts)
        for recipient in recipients:
            count = len(list(self._plan(notification, recipient)))
            own = tuple(next(rest) for _ in range(count))
            self.sent.append(SentNotification(notification, recipient, own))
        return receipts

    def assert_sent_to(
        self, recipient: Recipient | str, kind: type[Notification], *, channel: str | None = None
    ) -> SentNotification:
        """The only notification of this type that was sent to this recipient, or to this id or address."""
        found = [
            sent
            for sent in self.sent
            if isinstance(sent.notification, kind)
            and _is_for(sent.recipient, recipient)
            and (channel in sent.channels if channel else sent.channels)
        ]
        if len(found) != 1:
            through = f" through {channel}" if channel else ""
            raise AssertionError(
                f"{len(found)} notifications of {kind.__name__} were sent{through} to this recipient;"
                f" all that were sent: {self._list()}"
            )
        return found[0]

    def assert_not_sent_to(self, recipient: Recipient | str, kind: type[Notification]) -> None:
        """No notification of this type was sent to this recipient, or to this id or address."""
        found = [
            sent
            for sent in self.sent
            if isinstance(sent.notification, kind) and _is_for(sent.recipient, recipient) and sent.channels
        ]
        if found:
            raise AssertionError(f"{len(found)} notifications of {kind.__name__} were sent to this recipient")

    def assert_nothing_sent(self) -> None:
        """No notification was sent to any recipient."""
        if any(sent.channels for sent in self.sent):
            raise AssertionError(f"notifications were sent: {self._list()}")

    def _list(self) -> str:
        shown = (f"{type(each.notification).__name__} through {', '.join(each.channels)}" for each in self.sent)
        return "; ".join(shown) or "none"


def _is_for(recipient: Recipient, wanted: Recipient | str) -> bool:
    if isinstance(wanted, Recipient):
        return recipient == wanted
    return wanted == recipient.id or wanted in recipient.addresses.values()
