"""With a queue: each delivery is a job, is tried again by itself, and can be started anew once it was given up."""

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, nullcontext

import pytest
from kpi_kit.crypt import Crypt, generate_key
from kpi_kit.notify import (
    ChannelUnavailableError,
    DeliveryRefusedError,
    NeedsQueueError,
    Notifier,
    NotifyFake,
    Outcome,
    Recipient,
)
from kpi_kit.queue import QueueFake
from notify_servers import InvoicePaid

ANNA = Recipient("42", {"sms": "+15550100"})
PAID = InvoicePaid(number=7, channels=["sms", "slack", "mail"])


@pytest.fixture
async def queue() -> AsyncIterator[QueueFake]:
    async with QueueFake() as queue:
        yield queue


@pytest.fixture
async def notifier(queue: QueueFake) -> AsyncIterator[NotifyFake]:
    async with NotifyFake(queue=queue) as notifier:
        yield notifier


async def test_each_delivery_is_a_job_of_its_channel(notifier: NotifyFake, queue: QueueFake) -> None:
    receipts = await notifier.send(PAID, [ANNA, Recipient("43")])
    # No address for a mail, and none of the second one for a short message.
    expected = ["queued", "queued", "skipped", "skipped", "queued", "skipped"]
    assert [receipt.outcome.value for receipt in receipts] == expected
    assert [(job.name, job.queue) for job in queue.pushed] == [
        ("notify.sms", "notifications"),
        ("notify.slack", "notifications"),
        ("notify.slack", "notifications"),
    ]
    assert notifier.deliveries == []
    await queue.run_pushed()
    assert {delivery.id for delivery in notifier.deliveries} == {
        receipt.delivery.id for receipt in receipts if receipt.outcome is Outcome.QUEUED
    }
    notifier.assert_sent_to(ANNA, InvoicePaid, channel="slack")
    # Neither the address nor the content.
    assert "15550100" not in repr(queue.pushed)
    assert "Invoice" not in repr(queue.pushed)


async def test_a_channel_that_fails_is_tried_again_and_stops_no_other(notifier: NotifyFake, queue: QueueFake) -> None:
    notifier.fail("sms", ChannelUnavailableError("the test wants it"))
    await notifier.send(PAID, ANNA)
    await queue.run_pushed()
    assert [delivery.channel for delivery in notifier.deliveries] == ["slack"]
    assert await notifier.list_dead() == []
    notifier.fail("sms", None)
    await queue.run_pushed(scheduled=True)
    assert [delivery.channel for delivery in notifier.deliveries] == ["slack", "sms"]


async def test_what_was_given_up_is_seen_and_starts_anew(notifier: NotifyFake, queue: QueueFake) -> None:
    notifier.fail("sms", ChannelUnavailableError("the test wants it"))
    receipts = await notifier.send(PAID, ANNA)
    await queue.run_pushed(scheduled=True)
    [dead] = await notifier.list_dead()
    assert (dead.id, dead.name, dead.attempts) == (receipts[0].job_id, "notify.sms", 8)
    assert dead.error.endswith("ChannelUnavailableError")
    notifier.fail("sms", None)
    assert await notifier.retry_dead(dead.id) == 1
    await queue.run_pushed()
    assert [delivery.channel for delivery in notifier.deliveries] == ["slack", "sms"]
    assert await notifier.list_dead() == []


async def test_what_would_fail_in_the_same_way_is_given_up_at_once(notifier: NotifyFake, queue: QueueFake) -> None:
    notifier.fail("sms", DeliveryRefusedError("no such number"))
    await notifier.send(PAID, ANNA)
    await queue.run_pushed()
    [dead] = await notifier.list_dead()
    assert (dead.name, dead.attempts) == ("notify.sms", 1)


class Recorder:
    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str]] = []

    def observe(self, library: str, operation: str, driver: str) -> AbstractContextManager[None]:
        self.calls.append((library, operation, driver))
        return nullcontext()


async def test_each_call_is_observed(queue: QueueFake) -> None:
    recorder, urls = Recorder(), {"sms": "memory://sms"}
    notification = InvoicePaid(number=7, channels=["sms"])
    async with Notifier.from_urls(urls, queue=queue, observer=recorder) as notifier:
        await notifier.send(notification, ANNA)
        assert recorder.calls == [("notify", "enqueue", "queue")]
        await queue.run_pushed()
    assert recorder.calls[1:] == [("notify", "deliver", "memory")]


async def test_with_a_cipher_nothing_is_readable_in_the_queue(queue: QueueFake) -> None:
    async with NotifyFake(queue=queue, cipher=Crypt({"k1": generate_key()})) as notifier:
        await notifier.send(PAID, ANNA)
        for job in queue.pushed:
            assert "Invoice" not in str(job.payload)
            assert "15550100" not in str(job.payload)
        await queue.run_pushed()
        [_, sms] = notifier.deliveries
        assert (sms.address, sms.content) == ("+15550100", {"text": "Invoice 7 is paid"})


async def test_a_transaction_without_a_queue_takes_only_the_database() -> None:
    async with NotifyFake() as notifier:
        with pytest.raises(NeedsQueueError, match="sms"):
            await notifier.send(PAID, ANNA, connection=object())
        assert notifier.deliveries == []
        listed = InvoicePaid(number=8, channels=["database"])
        [receipt] = await notifier.send(listed, ANNA, connection=object())
        assert receipt.outcome is Outcome.SENT
        with pytest.raises(NeedsQueueError):
            await notifier.list_dead()
        assert [delivery.kind for delivery in notifier.deliveries] == ["invoice-paid"]
