"""The notifier that users of the library hold."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Self
from uuid import uuid4

from pydantic import SecretStr

from kpi_kit.ciphers import Cipher
from kpi_kit.errors import AlreadyOpenError
from kpi_kit.notify.channels import build_channels, check_names
from kpi_kit.notify.contents import ContentKind
from kpi_kit.notify.contract import SEND_SECONDS, Channel, Delivery, NotificationStore, Traits
from kpi_kit.notify.errors import (
    ChannelUnavailableError,
    DeliveryError,
    NeedsQueueError,
    NotifierNotOpenError,
    UnknownChannelError,
)
from kpi_kit.notify.jobs import PREFIX, DeliveryJob, Jobs, make_job_type, seal_delivery, unseal_delivery
from kpi_kit.notify.notification import Notification, render
from kpi_kit.notify.receipts import Outcome, Receipt
from kpi_kit.notify.recipients import Recipient
from kpi_kit.observing import Observer, observe
from kpi_kit.queue import FailedJob, Run

if TYPE_CHECKING:
    from kpi_kit.mail import Mailer

log = logging.getLogger(__name__)

# Deliveries through one channel that run at the same time where there is no queue.
_AT_ONCE = 10


class Notifier:
    """Sends notifications through the channels that each of them names. Use it as an async context manager.

    With a queue, each delivery is a job that is tried again by itself, and a worker of the queue sends it: see
    ``kpi_kit.queue.Queue.work``. Without one, it is sent at once.
    """

    def __init__(
        self,
        channels: Mapping[str, Channel],
        *,
        queue: Jobs | None = None,
        cipher: Cipher | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._channels = check_names(channels)
        self._queue = queue
        self._cipher = cipher
        self._observer = observer
        self._is_open = False
        self._opened = AsyncExitStack()
        self._places = defaultdict[str, asyncio.Semaphore](lambda: asyncio.Semaphore(_AT_ONCE))
        self._job_types = {name: make_job_type(name) for name in self._channels}
        if queue is not None:
            for job_type in self._job_types.values():
                queue.handle(job_type, self._run)

    @classmethod
    def from_urls(  # noqa: PLR0913 each is a tool that a service has or has not
        cls,
        urls: Mapping[str, str | SecretStr],
        *,
        mailer: "Mailer | None" = None,
        store: NotificationStore | None = None,
        queue: Jobs | None = None,
        cipher: Cipher | None = None,
        observer: Observer | None = None,
        seconds: float = SEND_SECONDS,
    ) -> Self:
        """A notifier with the channels of these URLs by name, with ``mail`` if there is a mailer, and ``database``
        if there is a store. Mailer, store and queue are opened and closed by their owner. ``cipher``, a
        kpi_kit.crypt.Crypt, encrypts what waits in the queue.

        ``seconds`` is the bound of one attempt. UrlError, MissingExtraError, or UnknownChannelError for a name.
        """
        channels = build_channels(urls, mailer=mailer, store=store, seconds=seconds)
        return cls(channels, queue=queue, cipher=cipher, observer=observer)

    @staticmethod
    def route(channel: str, address: str = "") -> Recipient:
        """An address on demand: ``Notifier.route("mail", "anna@example.com").route("sms", "+15550100")``."""
        return Recipient.on_demand(channel, address)

    async def __aenter__(self) -> Self:
        if self._is_open:
            raise AlreadyOpenError("notifier")
        async with AsyncExitStack() as stack:
            for channel in self._channels.values():
                await channel.open()
                stack.push_async_callback(channel.close)
            self._opened = stack.pop_all()
        self._is_open = True
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._is_open = False
        await self._opened.aclose()

    async def send(
        self,
        notification: Notification,
        to: Recipient | Iterable[Recipient],
        *,
        connection: object | None = None,
    ) -> list[Receipt]:
        """One receipt for each recipient and channel, in their order.

        All is rendered first: what the notification raises, and UnknownChannelError, mean that nothing was sent. A
        delivery that then fails is in its receipt, and stops no other.

        With ``connection`` (psycopg, or SQLAlchemy over it) all is a part of the open transaction there: with a queue
        the jobs, without one what a database channel writes. NeedsQueueError for another channel without a queue; an
        error of the database is raised as it is, since the transaction has failed.
        """
        if not self._is_open:
            raise NotifierNotOpenError
        recipients = [to] if isinstance(to, Recipient) else list(to)
        planned = [receipt for recipient in recipients for receipt in self._plan(notification, recipient)]
        if self._queue is not None:
            return await self._push(self._queue, planned, connection)
        if connection is not None:
            return await self._write(planned, connection)
        return await self._deliver_all(planned)

    async def retry(self, receipts: Iterable[Receipt]) -> list[Receipt]:
        """Without a queue: attempt those that have failed once more. All others are returned as they are."""
        if not self._is_open:
            raise NotifierNotOpenError
        return await self._deliver_all(list(receipts))

    async def list_dead(self, *, limit: int = 100) -> list[FailedJob]:
        """The failed deliveries (given up), the newest first: ``notify.slack`` with the type of its last error.

        ``FailedJob.id`` is the ``job_id`` of a receipt. ``limit`` is that of all failed jobs that are looked at.
        """
        return [job for job in await self._get_queue().failed(limit=limit) if job.name.startswith(PREFIX)]

    async def retry_dead(self, *job_ids: int) -> int:
        """Let these failed deliveries start anew, with all their attempts; how many there were."""
        return await self._get_queue().retry(*job_ids)

    def _get_queue(self) -> Jobs:
        if self._queue is None:
            raise NeedsQueueError("the notifier has no queue, so a failed delivery is only in its receipt")
        return self._queue

    def _plan(self, notification: Notification, recipient: Recipient) -> Iterator[Receipt]:
        for name in dict.fromkeys(notification.via(recipient)):
            channel = self._find(name)
            if recipient.is_on_demand and name not in recipient.addresses:
                continue
            is_skipped = not _has_place(recipient, name, channel.traits)
            delivery = Delivery(
                id=uuid4().hex,
                channel=name,
                kind=notification.kind,
                recipient=recipient.id,
                address=recipient.addresses.get(name, ""),
                content={} if is_skipped else render(notification, recipient, channel.traits.renders),
                created_at=datetime.now(UTC),
            )
            yield Receipt(delivery, Outcome.SKIPPED if is_skipped else Outcome.QUEUED)

    def _find(self, name: str) -> Channel:
        if name not in self._channels:
            known = ", ".join(self._channels) or "none"
            raise UnknownChannelError(f"the notifier has no channel {name}; it has: {known}")
        return self._channels[name]

    async def _push(self, queue: Jobs, planned: Sequence[Receipt], connection: object | None) -> list[Receipt]:
        """All jobs are pushed at once, so there are all or none."""
        waiting = [receipt.delivery for receipt in planned if receipt.outcome is Outcome.QUEUED]
        jobs = [self._job_types[each.channel].model_validate(seal_delivery(each, self._cipher)) for each in waiting]
        with observe(self._observer, "notify", "enqueue", "queue"):
            pushed = iter(await queue.push_all(jobs, connection=connection))
        return [
            Receipt(receipt.delivery, Outcome.QUEUED, job_id=next(pushed).id)
            if receipt.outcome is Outcome.QUEUED
            else receipt
            for receipt in planned
        ]

    async def _write(self, planned: Sequence[Receipt], connection: object) -> list[Receipt]:
        waiting = [receipt for receipt in planned if receipt.outcome is Outcome.QUEUED]
        for receipt in waiting:
            if not self._channels[receipt.delivery.channel].traits.takes_connection:
                raise NeedsQueueError(
                    f"the channel {receipt.delivery.channel} needs a queue to be a part of a transaction"
                )
        for receipt in waiting:
            await self._attempt(receipt.delivery, connection)
        return [
            Receipt(receipt.delivery, Outcome.SENT) if receipt.outcome is Outcome.QUEUED else receipt
            for receipt in planned
        ]

    async def _deliver_all(self, receipts: Sequence[Receipt]) -> list[Receipt]:
        return list(await asyncio.gather(*(self._deliver(receipt) for receipt in receipts)))

    async def _deliver(self, receipt: Receipt) -> Receipt:
        if receipt.outcome in (Outcome.SENT, Outcome.SKIPPED) or receipt.job_id is not None:
            return receipt
        try:
            async with self._places[receipt.delivery.channel]:
                await self._attempt(receipt.delivery)
        except DeliveryError as error:
            return Receipt(receipt.delivery, Outcome.FAILED, error)
        return Receipt(receipt.delivery, Outcome.SENT)

    async def _run(self, job: DeliveryJob, _run: Run) -> None:
        """The handler of the jobs. What may pass is for the queue to try again."""
        await self._attempt(unseal_delivery(job, self._cipher))

    async def _attempt(self, delivery: Delivery, connection: object | None = None) -> None:
        channel = self._find(delivery.channel)
        with observe(self._observer, "notify", "deliver", channel.traits.driver):
            try:
                await channel.deliver(delivery, connection=connection)
            except DeliveryError as error:
                log.warning(
                    "notification %s %s through %s: %s", delivery.kind, delivery.id, delivery.channel, error.reason
                )
                raise
            except Exception as error:
                if connection is not None:
                    raise
                # Of a channel that is code of others, whose message may quote what it was given.
                kind = type(error).__name__
                log.error("notification %s %s through %s: %s", delivery.kind, delivery.id, delivery.channel, kind)  # noqa: TRY400 as above
                raise ChannelUnavailableError(f"the channel failed: {kind}") from None


def _has_place(recipient: Recipient, name: str, traits: Traits) -> bool:
    """Whether there is an address, or none is needed; a table needs the id of the recipient."""
    if recipient.addresses.get(name):
        return True
    return bool(recipient.id) if traits.renders is ContentKind.DATABASE else not traits.needs_address
