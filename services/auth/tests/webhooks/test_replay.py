"""Events are sent again from a place, and what is still to be sent is kept."""

import asyncio
from datetime import datetime, timedelta

from kpi_auth.context import Context
from kpi_auth.webhooks import delivery_repository, retention, service
from kpi_auth.webhooks.service import Replayed
from kpi_auth.webhooks.worker import WebhookWorker
from kpi_shared.database import Database
from webhook_support import (
    ROOT,
    NewWorker,
    Receiver,
    add_webhook,
    execute,
    publish,
    receiving,
    rows,
    status,
    webhook_row,
)


async def drain(worker: WebhookWorker) -> None:
    while await worker._queue_events() or await worker._start_due():
        await asyncio.gather(*worker._in_flight._tasks)


async def replay(context: Context, webhook_id: int, place: datetime | int) -> Replayed:
    async with context.database.writing() as connection:
        return await service.replay(context, connection, webhook_id=webhook_id, caller=ROOT, place=place)


async def test_events_are_sent_again_after_a_seq(database: Database, context: Context, new_worker: NewWorker) -> None:
    async with receiving(Receiver()) as receiver:
        made = await add_webhook(context, receiver.url)
        await publish(database, 1, 2, 3, 4)
        worker = new_worker()
        await drain(worker)
        seqs = sorted(receiver.seqs)
        done = await replay(context, made.row.id, seqs[1])
        assert (done.after, done.last) == (seqs[1], seqs[3])
        receiver.messages.clear()
        await drain(worker)
    assert sorted(receiver.seqs) == seqs[2:]
    # A receiver recognises them by their ids.
    assert {message.fields["webhook-id"] for message in receiver.messages} == {f"evt_{seq}" for seq in seqs[2:]}


async def test_events_are_sent_again_since_a_time(database: Database, context: Context, new_worker: NewWorker) -> None:
    async with receiving(Receiver()) as receiver:
        made = await add_webhook(context, receiver.url)
        await publish(database, 1)
        await publish(database, 2)
        worker = new_worker()
        await drain(worker)
        first, second = receiver.messages
        since = datetime.fromisoformat(second.event["timestamp"])
        receiver.messages.clear()
        await replay(context, made.row.id, since)
        await drain(worker)
        assert receiver.seqs == [second.seq]
        await replay(context, made.row.id, since - timedelta(days=400))
        await drain(worker)
        assert sorted(receiver.seqs) == [first.seq, second.seq, second.seq]
        receiver.messages.clear()
        await replay(context, made.row.id, since + timedelta(days=1))
        await drain(worker)
    assert receiver.messages == []


async def test_a_replay_skips_nothing_that_is_not_queued_yet(
    database: Database, context: Context, new_worker: NewWorker
) -> None:
    async with receiving(Receiver()) as receiver:
        made = await add_webhook(context, receiver.url)
        await publish(database, 1, 2)
        done = await replay(context, made.row.id, 2**62)
        assert done.after == made.row.queued_seq
        await drain(new_worker())
    assert len(receiver.messages) == 2


async def test_a_replay_revives_a_disabled_webhook_and_its_dead_events(
    database: Database, context: Context, new_worker: NewWorker
) -> None:
    async with receiving(Receiver(status(500))) as receiver:
        made = await add_webhook(context, receiver.url)
        await publish(database, 1, 2, 1)
        worker = new_worker(most_dead=3)
        while await worker._queue_events():
            pass
        await execute(database, "UPDATE webhook_deliveries SET give_up_at = now()")
        await drain(worker)
        row = await webhook_row(database, made.row.id)
        assert (row.state, row.dead) == ("disabled", 3)
        receiver.answer = status(200)
        receiver.messages.clear()
        await replay(context, made.row.id, made.row.queued_seq)
        await drain(worker)
    assert sorted(message.account_id for message in receiver.messages) == [1, 1, 2]
    row = await webhook_row(database, made.row.id)
    assert (row.state, row.dead, row.pending) == ("active", 0, 0)


async def test_a_replay_leaves_a_paused_webhook_paused(
    database: Database, context: Context, new_worker: NewWorker
) -> None:
    async with receiving(Receiver()) as receiver:
        made = await add_webhook(context, receiver.url)
        await publish(database, 1)
        worker = new_worker()
        await drain(worker)
        for active in (False, True):
            async with database.writing() as connection:
                wanted = {"is_active": active}
                await service.change(context, connection, webhook_id=made.row.id, caller=ROOT, wanted=wanted)
            if not active:
                await replay(context, made.row.id, 0)
            await drain(worker)
            assert len(receiver.messages) == 1 + active


async def test_a_replay_begins_with_what_is_kept(database: Database, context: Context, new_worker: NewWorker) -> None:
    async with receiving(Receiver()) as receiver:
        made = await add_webhook(context, receiver.url)
        await publish(database, 1, 2, 3)
        await drain(new_worker())
        first, *others = sorted(receiver.seqs)
        await execute(database, "DELETE FROM events WHERE seq = :seq", seq=first)
        await execute(database, "UPDATE event_horizon SET seq = :seq", seq=first)
        done = await replay(context, made.row.id, 0)
        receiver.messages.clear()
        await drain(new_worker())
        await execute(database, "UPDATE event_horizon SET seq = 0")
    assert done.after == first
    assert sorted(receiver.seqs) == others


async def test_a_long_pause_leaves_out_what_is_gone_and_gives_nothing_up(
    database: Database, context: Context, new_worker: NewWorker
) -> None:
    async with receiving(Receiver(status(410))) as receiver:
        made = await add_webhook(context, receiver.url)
        await publish(database, *[1, 2] * 8)
        worker = new_worker()
        await drain(worker)
        assert (await webhook_row(database, made.row.id)).state == "disabled"
        seqs = [row.seq for row in await rows(database)]
        # All but the last two have been deleted by age.
        await execute(database, "DELETE FROM events WHERE seq <= :seq", seq=seqs[13])
        await execute(database, "UPDATE event_horizon SET seq = :seq", seq=seqs[13])
        receiver.answer = status(200)
        receiver.messages.clear()
        async with database.writing() as connection:
            await service.change(context, connection, webhook_id=made.row.id, caller=ROOT, wanted={"is_active": True})
        await drain(worker)
        await execute(database, "UPDATE event_horizon SET seq = 0")
    assert sorted(receiver.seqs) == seqs[14:]
    row = await webhook_row(database, made.row.id)
    assert (row.state, row.dead, row.pending) == ("active", 0, 0)


async def test_a_full_queue_holds_up_no_other_webhook_and_goes_on_later(
    database: Database, context: Context, new_worker: NewWorker
) -> None:
    async with receiving(Receiver(status(500))) as failing, receiving(Receiver()) as receiver:
        full = await add_webhook(context, failing.url)
        await publish(database, *[1] * 20)
        worker = new_worker(most_pending=10)
        while await worker._queue_events():
            pass
        await add_webhook(context, receiver.url)
        await publish(database, *[1] * 5)
        while await worker._queue_events():
            pass
        row = await webhook_row(database, full.row.id)
        seqs = [one.seq for one in await rows(database) if one.webhook_id == full.row.id]
        assert (len(seqs), row.queued_seq) == (20, seqs[-1])
        await drain(worker)
        assert len(receiver.messages) == 5
        failing.answer = status(200)
        await execute(database, "UPDATE webhook_deliveries SET due_at = now() WHERE due_at IS NOT NULL")
        await drain(worker)
        await drain(worker)
    assert sorted(set(failing.seqs)) == seqs + sorted(receiver.seqs)


async def needed(database: Database) -> int | None:
    async with database.reading() as connection:
        return await retention.find_least_needed(connection)


async def test_what_is_still_to_be_sent_is_needed(database: Database, context: Context, new_worker: NewWorker) -> None:
    assert await needed(database) is None
    async with receiving(Receiver()) as receiver:
        made = await add_webhook(context, receiver.url)
        place = made.row.queued_seq
        await publish(database, 1, 2)
        # Not queued yet.
        assert await needed(database) == place + 1
        worker = new_worker()
        receiver.answer = status(500)
        while await worker._queue_events():
            pass
        first, second = [row.seq for row in await rows(database)]
        assert await needed(database) == first
        await execute(database, "DELETE FROM webhook_deliveries WHERE seq = :seq", seq=first)
        assert await needed(database) == second
        await execute(database, "DELETE FROM webhook_deliveries")
        assert await needed(database) == second + 1
        await execute(database, "UPDATE webhooks SET is_active = false")
        assert await needed(database) is None


async def test_old_deliveries_are_forgotten(database: Database, context: Context) -> None:
    for number in range(2):
        await add_webhook(context, f"http://127.0.0.1:{number + 1}/")
    await publish(database, 1)
    # At both webhooks one of each state is young, and one is old.
    statement = """
        INSERT INTO webhook_deliveries
            (webhook_id, seq, account_id, event_type, give_up_at, state, settled_at, created_at)
        SELECT id, days + CASE WHEN state = 'dead' THEN 0 ELSE 5 END, 1, 'account.renamed', now(), state,
            CASE WHEN state = 'dead' THEN now() - days * interval '1 day' END, now() - days * interval '1 day'
        FROM webhooks, unnest(ARRAY['dead', 'pending']) AS state, unnest(ARRAY[10, 40]) AS days
    """
    await execute(database, statement)
    await execute(database, "UPDATE webhooks SET is_active = false WHERE id = (SELECT min(id) FROM webhooks)")
    async with database.writing() as connection:
        assert await delivery_repository.forget_old(connection, kept=timedelta(days=30), most=100) == 3
    left = [(row.state, row.seq) for row in await rows(database)]
    # The old pending one of the active webhook is still to be sent.
    assert left == [("dead", 10), ("pending", 15), ("dead", 10), ("pending", 15), ("pending", 45)]
