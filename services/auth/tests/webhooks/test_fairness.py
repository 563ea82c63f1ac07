"""Receivers that answer late, each after another time, leave lanes to those that answer at once."""

import asyncio

from kpi_auth.context import Context
from kpi_shared.database import Database
from mail_support import until
from webhook_support import (
    Message,
    NewWorker,
    Receiver,
    add_webhook,
    at_work,
    attempt_due,
    publish,
    receiving,
    rows,
    status,
    wait_for_rows,
)

PATIENT = 600


class Late:
    """Answers 200, each time once a test lets it: so the answers take as long as the test wants."""

    def __init__(self) -> None:
        self.turns = asyncio.Semaphore(0)

    async def __call__(self, message: Message, writer: asyncio.StreamWriter) -> None:
        await self.turns.acquire()
        await status(200)(message, writer)


async def wait_until_queued(database: Database, webhook_id: int, count: int) -> None:
    async with asyncio.timeout(60):
        while sum(row.webhook_id == webhook_id for row in await rows(database)) != count:  # noqa: ASYNC110 a worker's effects
            await asyncio.sleep(0.02)


async def test_a_lane_that_becomes_free_goes_to_a_webhook_that_has_none(
    database: Database, context: Context, new_worker: NewWorker
) -> None:
    late = Late()
    async with receiving(Receiver()) as slow, receiving(Receiver()) as receiver:
        for _ in range(2):
            await add_webhook(context, slow.url)
        await publish(database, 1)
        worker = new_worker(seconds=PATIENT, lanes=8, grace=0.1)
        await attempt_due(worker)
        slow.answer = late
        # So many older events that a lane by age would never be another webhook's.
        await publish(database, *range(2, 80))
        async with at_work(worker):
            await until(lambda: slow.open == 8)
            made = await add_webhook(context, receiver.url)
            await publish(database, *range(100, 116))
            await wait_until_queued(database, made.row.id, 16)
            late.turns.release()
            await until(lambda: len(receiver.messages) == 16)
            assert len(slow.messages) <= 2 + 8 + 1


async def test_webhooks_that_answer_late_share_half_of_the_lanes(
    database: Database, context: Context, new_worker: NewWorker
) -> None:
    late = Late()
    async with receiving(Receiver()) as slow, receiving(Receiver()) as receiver:
        for _ in range(6):
            await add_webhook(context, slow.url)
        await publish(database, 1)
        worker = new_worker(seconds=PATIENT, lanes=8, slow=0.0, grace=0.1)
        await attempt_due(worker)
        await wait_for_rows(database, 0)
        # Those were slow, since each attempt takes longer than that; later ones are not.
        worker._times = worker._times._replace(slow=600)
        slow.answer = late
        await add_webhook(context, receiver.url)
        await publish(database, *range(2, 40))
        async with at_work(worker):
            await until(lambda: slow.open == 4)
            # No late answer comes before these have arrived.
            await until(lambda: len(receiver.messages) == 38)
            assert slow.most_open <= 6
            assert slow.open == 4
