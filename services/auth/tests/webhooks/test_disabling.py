"""Webhooks that the service disables, and those that an admin pauses."""

import asyncio

from kpi_auth.context import Context
from kpi_auth.webhooks import service
from kpi_shared.database import Database
from mail_support import until
from sqlalchemy import text
from webhook_support import (
    ROOT,
    Message,
    NewWorker,
    Receiver,
    add_webhook,
    at_work,
    attempt_due,
    execute,
    publish,
    receiving,
    status,
    wait_for_rows,
    webhook_row,
)


async def test_many_dead_events_in_a_row_disable_a_webhook(
    database: Database, context: Context, new_worker: NewWorker
) -> None:
    async with receiving(Receiver(status(500))) as receiver:
        made = await add_webhook(context, receiver.url)
        await publish(database, 1, 2, 3, 4)
        worker = new_worker(most_dead=3)
        while await worker._queue_events():
            pass
        await execute(database, "UPDATE webhook_deliveries SET give_up_at = now()")
        for _ in range(4):
            await attempt_due(worker)
    row = await webhook_row(database, made.row.id)
    assert (row.state, row.dead, row.pending) == ("disabled", 3, 1)
    assert row.disabled_reason == "3 events in a row were given up; the last: 500 Internal Server Error"
    assert len(receiver.messages) == 3


async def test_a_success_begins_the_count_of_dead_events_anew(
    database: Database, context: Context, new_worker: NewWorker
) -> None:
    async def fail_odd(message: Message, writer: asyncio.StreamWriter) -> None:
        await status(500 if message.account_id % 2 else 200)(message, writer)

    async with receiving(Receiver(fail_odd)) as receiver:
        made = await add_webhook(context, receiver.url)
        await publish(database, 1, 2, 3, 4, 5, 6)
        # One at a time, so that successes and failures take turns.
        worker = new_worker(most_dead=2, lanes_each=1)
        while await worker._queue_events():
            pass
        await execute(database, "UPDATE webhook_deliveries SET give_up_at = now()")
        for _ in range(6):
            await attempt_due(worker)
    row = await webhook_row(database, made.row.id)
    assert (row.state, row.dead, row.pending) == ("active", 3, 0)


async def test_410_disables_at_once_and_keeps_the_event(
    database: Database, context: Context, new_worker: NewWorker
) -> None:
    async with receiving(Receiver(status(410))) as receiver:
        made = await add_webhook(context, receiver.url)
        await publish(database, 1, 2)
        worker = new_worker()
        await attempt_due(worker)
        await publish(database, 3)
        await attempt_due(worker)
        row = await webhook_row(database, made.row.id)
        assert (row.state, row.pending) == ("disabled", 2)
        assert row.disabled_reason == "410 Gone: the receiver accepts no further events"
        assert len(receiver.messages) == 1
        receiver.answer = status(200)
        async with database.writing() as connection:
            await service.change(context, connection, webhook_id=row.id, caller=ROOT, wanted={"is_active": True})
        async with at_work(worker):
            await until(lambda: len(receiver.messages) >= 4)
            await wait_for_rows(database, 0)
    # It goes on where it stopped, with what happened in the meantime.
    assert sorted({message.account_id for message in receiver.messages}) == [1, 2, 3]
    assert (await webhook_row(database, made.row.id)).disabled_reason is None


async def test_a_disabled_webhook_is_in_the_audit_trail(
    database: Database, context: Context, new_worker: NewWorker
) -> None:
    async with receiving(Receiver(status(410))) as receiver:
        made = await add_webhook(context, receiver.url)
        await publish(database, 1)
        await attempt_due(new_worker())
    async with database.reading() as connection:
        statement = text("SELECT event, details FROM audit_events WHERE details->>'webhook_id' = :id ORDER BY id")
        found = (await connection.execute(statement, {"id": str(made.row.id)})).all()
    assert [row.event for row in found] == ["webhook.created", "webhook.disabled"]
    assert "410" in found[1].details["reason"]


async def test_a_paused_webhook_gets_nothing_and_goes_on_later(
    database: Database, context: Context, new_worker: NewWorker
) -> None:
    async with receiving(Receiver()) as receiver:
        made = await add_webhook(context, receiver.url)
        for active, accounts in ((False, (1, 2)), (True, (3,))):
            async with database.writing() as connection:
                wanted = {"is_active": active}
                await service.change(context, connection, webhook_id=made.row.id, caller=ROOT, wanted=wanted)
            await publish(database, *accounts)
            worker = new_worker()
            await attempt_due(worker)
            if not active:
                assert receiver.messages == []
        async with at_work(worker):
            await until(lambda: len(receiver.messages) >= 3)
    assert sorted(message.account_id for message in receiver.messages) == [1, 2, 3]
