"""Deliveries as jobs of a queue: one for each recipient and channel, so that each is tried again by itself."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from pydantic import Field

from kpi_kit.ciphers import Cipher, seal, unseal
from kpi_kit.notify.contract import Delivery
from kpi_kit.notify.errors import DeliveryRefusedError, NotifyError
from kpi_kit.queue import FailedJob, Job, Pushed, Retry
from kpi_kit.queue.envelopes import JobType
from kpi_kit.queue.handlers import Handler

QUEUE = "notifications"
PREFIX = "notify."
# Eight attempts within about ten hours, fewer only where another attempt would fail in the same way.
_RETRY = Retry(
    attempts=8,
    first=timedelta(seconds=10),
    factor=4.0,
    longest=timedelta(hours=6),
    never_after=(DeliveryRefusedError,),
    # A delivery to a receiver that hangs takes the time of all attempts. From the second one on, others come first.
    waits_behind=True,
)
# More than a channel takes by its own bounds.
_LONGEST = timedelta(minutes=5)


class Jobs(Protocol):
    """The part of ``kpi_kit.queue.Queue`` that a notifier uses."""

    def handle(self, job_type: type[JobType], handler: Handler[JobType]) -> None:
        """Run jobs of this type with ``handler``."""

    async def push_all(self, jobs: Sequence[Job], *, connection: object | None = None) -> list[Pushed]:
        """Push the jobs, all or none; in the transaction of ``connection`` if there is one."""

    async def failed(self, *, limit: int = 100) -> list[FailedJob]:
        """The jobs that were given up, the newest first."""

    async def retry(self, *ids: int) -> int:
        """Let these jobs start anew; how many there were."""


class DeliveryJob(Job, name="notify", on=QUEUE, retry=_RETRY, timeout=_LONGEST):
    """The base of the jobs of all channels. With ``sealed``, the delivery has its address and its content in there."""

    delivery: Delivery
    sealed: str | None = Field(default=None, repr=False)


def seal_delivery(delivery: Delivery, cipher: Cipher | None) -> dict[str, Delivery | str | None]:
    """The fields of the job: with a cipher, nothing of what it says is readable in the queue."""
    if cipher is None:
        return {"delivery": delivery, "sealed": None}
    hidden = {"address": delivery.address, "content": delivery.content}
    sealed = seal(hidden, cipher, of=f"notify {delivery.id}")
    return {"delivery": delivery.model_copy(update={"address": "", "content": {}}), "sealed": sealed}


def unseal_delivery(job: DeliveryJob, cipher: Cipher | None) -> Delivery:
    """The whole delivery; NotifyError if it is encrypted and this notifier has no cipher."""
    if job.sealed is None:
        return job.delivery
    missing = NotifyError("the delivery in the queue is encrypted, and this notifier has no cipher")
    hidden = unseal(job.sealed, cipher, of=f"notify {job.delivery.id}", missing=missing)
    return job.delivery.model_copy(update=hidden)


def make_job_type(channel: str) -> type[DeliveryJob]:
    """The jobs of one channel have a name of their own, so that ``kpi queue failed`` shows which channel failed.

    They have places of their own in each worker, so that a receiver that hangs delays no other channel.
    """

    class ChannelJob(DeliveryJob, name=f"{PREFIX}{channel}", on=QUEUE, retry=_RETRY, timeout=_LONGEST, own_places=True):
        """A job of this channel."""

    return ChannelJob
