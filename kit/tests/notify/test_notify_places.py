"""A receiver that hangs, of which users write the address, delays no other channel, and no other job."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta

import pytest
import queue_support
from kpi_kit.notify import Notifier, Outcome, Recipient
from kpi_kit.notify.drivers.memory import MemoryChannel
from kpi_kit.queue import Queue
from kpi_shared.testing.postgres import create_database
from notify_servers import SECRET, InvoicePaid, Service, run_service
from queue_support import Note, Recorder, until

# No attempt at a receiver that hangs ends within a test.
FOR_EVER = 600.0
PHONE = Recipient.on_demand("sms", "+15550100")
PAID = InvoicePaid(number=7, channels=["hooks", "slack", "sms"])


@pytest.fixture
async def hanging() -> AsyncIterator[Service]:
    async with run_service() as service:
        service.hangs = True
        yield service


@pytest.fixture(params=["postgresql", "memory"])
async def queue(request: pytest.FixtureRequest, worker: str) -> AsyncIterator[Queue]:
    url = ""
    if request.param == "postgresql":
        url = create_database(f"kit_notify_queue_{worker}")
        queue_support.create_schema(url)
    async with queue_support.open_queue(request.param, url) as opened:
        yield opened


def build_notifier(hanging: Service, queue: Queue | None) -> Notifier:
    urls = {
        "hooks": f"webhook+http://:{SECRET}@?allow=127.0.0.0/8",
        "slack": f"slack+http://127.0.0.1:{hanging.port}/services/T000/B000/token",
        "sms": "memory://sms",
    }
    return Notifier.from_urls(urls, queue=queue, seconds=FOR_EVER)


def invite(hanging: Service, number: int) -> list[Recipient]:
    """Each has an address of its own for webhooks, and all get a message in Slack, too."""
    url = f"http://127.0.0.1:{hanging.port}/hooks"
    return [Recipient.on_demand("hooks", f"{url}/{each}").route("slack") for each in range(number)]


async def test_with_a_queue_channels_that_hang_delay_no_other(hanging: Service, queue: Queue) -> None:
    notes = Recorder()
    queue.handle(Note, notes)
    async with build_notifier(hanging, queue) as notifier:
        sms = notifier._channels["sms"]
        assert isinstance(sms, MemoryChannel)
        async with queue.work(concurrency=2, grace=timedelta(0)):
            await notifier.send(PAID, invite(hanging, 20))
            # All places of both.
            await until(lambda: len(hanging.requests) == 4)
            for _ in range(3):
                await notifier.send(PAID, PHONE)
            await queue.push(Note(text="another job"))

            async def only_those_are_left() -> bool:
                left = [(each.queue, each.waiting, each.running) for each in await queue.status()]
                return left == [("notifications", 36, 4)]

            await until(only_those_are_left)
            assert (len(sms.deliveries), notes.texts) == (3, ["another job"])
            # Those that hung hang still.
            assert len(hanging.requests) == 4


async def test_without_a_queue_channels_that_hang_delay_no_other(hanging: Service) -> None:
    async with build_notifier(hanging, None) as notifier:
        held = asyncio.create_task(notifier.send(PAID, invite(hanging, 20)))
        await until(lambda: len(hanging.requests) == 20)
        [receipt] = await notifier.send(PAID, PHONE)
        assert receipt.outcome is Outcome.SENT
        assert not held.done()
        held.cancel()
        with suppress(asyncio.CancelledError):
            await held
