"""The worker on real connections: what is sent in which order, what is retried, and who waits for whom."""

import asyncio
from collections import defaultdict

import pytest
from kpi_auth.context import Context
from kpi_auth.events.models import EventType
from kpi_auth.webhooks import delivery_repository, repository, service
from kpi_shared.database import Database
from mail_support import until
from webhook_support import (
    ROOT,
    Message,
    NewWorker,
    Receiver,
    add_webhook,
    at_work,
    attempt_due,
    execute,
    hang,
    publish,
    receiving,
    reset,
    rows,
    status,
    verify,
    wait_for_rows,
    webhook_row,
)


async def test_an_event_is_sent_signed_and_forgotten(
    database: Database, context: Context, new_worker: NewWorker
) -> None:
    await publish(database, 1)
    async with receiving(Receiver()) as receiver:
        made = await add_webhook(context, receiver.url)
        await publish(database, 7)
        await attempt_due(new_worker())
    (message,) = receiver.messages
    # Only the event after the webhook's creation.
    assert message.event["type"] == "account.renamed"
    assert message.event["data"] == {
        "id": 7,
        "username": "anna",
        "role": "user",
        "is_active": True,
        "is_deleted": False,
        "version": 1,
    }
    assert message.event.keys() == {"type", "timestamp", "data", "seq", "schema_version", "account_id"}
    assert message.event["timestamp"].endswith("Z")
    assert message.fields["webhook-id"] == f"evt_{message.seq}"
    assert message.fields["user-agent"] == "KPI-One-Webhooks/0.1.0"
    assert verify(message.body, message.fields, secret=made.secret)
    assert await rows(database) == []
    row = await webhook_row(database, made.row.id)
    assert (row.queued_seq, row.pending, row.state) == (message.seq, 0, "active")
    assert row.delivered_at is not None


async def test_the_old_secret_signs_until_its_end(database: Database, context: Context, new_worker: NewWorker) -> None:
    async with receiving(Receiver()) as receiver:
        old = await add_webhook(context, receiver.url)
        async with database.writing() as connection:
            new = await service.rotate_secret(
                context, connection, webhook_id=old.row.id, caller=ROOT, grace=service.PATIENCE
            )
        await publish(database, 1)
        await attempt_due(new_worker())
        await execute(database, "UPDATE webhooks SET previous_until = now()")
        await publish(database, 1)
        await attempt_due(new_worker())
    both, one = receiver.messages
    assert [verify(both.body, both.fields, secret=made.secret) for made in (old, new)] == [True, True]
    assert [verify(one.body, one.fields, secret=made.secret) for made in (old, new)] == [False, True]


async def test_only_the_wanted_types_are_sent(database: Database, context: Context, new_worker: NewWorker) -> None:
    async with receiving(Receiver()) as some, receiving(Receiver()) as one, receiving(Receiver()) as all_types:
        await add_webhook(context, some.url, "account.*")
        await add_webhook(context, one.url, "account.deleted")
        await add_webhook(context, all_types.url)
        await publish(database, 1)
        await publish(database, 2, kind=EventType.ACCOUNT_DELETED)
        worker = new_worker()
        # Each has one lane until its first success.
        for _ in range(2):
            await attempt_due(worker)
    assert [len(receiver.messages) for receiver in (some, one, all_types)] == [2, 1, 2]
    assert one.messages[0].event["type"] == "account.deleted"


async def test_a_failure_is_repeated_under_the_same_id(
    database: Database, context: Context, new_worker: NewWorker
) -> None:
    async with receiving(Receiver(status(500))) as receiver:
        made = await add_webhook(context, receiver.url)
        await publish(database, 1)
        async with at_work(new_worker()):
            await until(lambda: len(receiver.messages) >= 4)
            assert (await rows(database))[0].last_error == "500 Internal Server Error"
            receiver.answer = status(200)
            await wait_for_rows(database, 0)
    assert len({message.fields["webhook-id"] for message in receiver.messages}) == 1
    assert len({message.body for message in receiver.messages}) == 1
    assert all(verify(message.body, message.fields, secret=made.secret) for message in receiver.messages)


async def test_a_failing_event_holds_back_its_account_only(
    database: Database, context: Context, new_worker: NewWorker
) -> None:
    async def fail_first(message: Message, writer: asyncio.StreamWriter) -> None:
        await status(500 if message.account_id == 1 and not released.is_set() else 200)(message, writer)

    released = asyncio.Event()
    async with receiving(Receiver(fail_first)) as receiver, receiving(Receiver()) as other:
        await add_webhook(context, receiver.url)
        await add_webhook(context, other.url)
        await publish(database, 1, 2, 1, 2, 1, 3)
        async with at_work(new_worker()):
            await until(lambda: len(set(other.seqs)) == 6 and len(set(receiver.seqs)) == 4)
            await wait_for_rows(database, 3)
            held = await rows(database)
            # The later events of the account have not been attempted.
            assert [row.account_id for row in held] == [1, 1, 1]
            assert [row.attempts for row in held[1:]] == [0, 0]
            assert [row.due_at for row in held[1:]] == [None, None]
            released.set()
            await wait_for_rows(database, 0)
    by_account = defaultdict(list)
    for message in receiver.messages:
        by_account[message.account_id].append(message.seq)
    assert all(seqs == sorted(seqs) for seqs in by_account.values())
    assert {account: len(set(seqs)) for account, seqs in by_account.items()} == {1: 3, 2: 2, 3: 1}
    assert sorted(other.seqs) == sorted(set(receiver.seqs))


async def test_two_replicas_keep_the_order_of_each_account(
    database: Database, context: Context, new_worker: NewWorker
) -> None:
    accounts = [number % 10 + 1 for number in range(200)]
    async with receiving(Receiver()) as receiver:
        await add_webhook(context, receiver.url)
        async with at_work(new_worker(), new_worker()):
            for start in range(0, 200, 20):
                await publish(database, *accounts[start : start + 20])
            await until(lambda: len(receiver.messages) >= 200)
            await wait_for_rows(database, 0)
    by_account = defaultdict(list)
    for message in receiver.messages:
        by_account[message.account_id].append(message.seq)
    assert all(seqs == sorted(seqs) for seqs in by_account.values())
    # Neither sends what the other has leased.
    assert len(receiver.messages) == len(set(receiver.seqs)) == 200
    assert receiver.most_open <= 8


async def test_receivers_that_hang_delay_no_other(database: Database, context: Context, new_worker: NewWorker) -> None:
    async with receiving(Receiver(status(500))) as hanging, receiving(Receiver()) as receiver:
        for _ in range(20):
            await add_webhook(context, hanging.url)
        await publish(database, *range(1, 11))
        worker = new_worker(seconds=600, lanes=8, grace=0.1)
        for _ in range(6):
            await attempt_due(worker)
        assert len(hanging.messages) >= 20
        hanging.answer = hang
        await add_webhook(context, receiver.url)
        await publish(database, *range(1, 65))
        async with at_work(worker):
            # None of the requests that hang ends before these have arrived.
            await until(lambda: len(receiver.messages) >= 64)
            assert hanging.open == 4
    assert sorted(receiver.seqs) == sorted(set(receiver.seqs))


async def test_a_webhook_that_works_has_four_lanes_and_one_that_fails_has_one(
    database: Database, context: Context, new_worker: NewWorker
) -> None:
    async with receiving(Receiver()) as receiver:
        await add_webhook(context, receiver.url)
        await publish(database, *range(1, 21))
        worker = new_worker(grace=0.1)
        await attempt_due(worker)
        assert len(receiver.messages) == 1
        receiver.answer = hang
        async with at_work(worker):
            await until(lambda: receiver.open == 4)
            await asyncio.sleep(0.1)
            assert receiver.most_open == 4


@pytest.mark.parametrize("answer", [reset, status(404)])
async def test_an_event_is_given_up_after_its_patience(
    database: Database, context: Context, new_worker: NewWorker, answer: object
) -> None:
    async with receiving(Receiver(answer)) as receiver:  # type: ignore[arg-type]
        made = await add_webhook(context, receiver.url)
        await publish(database, 1, 1)
        worker = new_worker()
        await attempt_due(worker)
        assert (await rows(database))[0].state == "pending"
        await execute(
            database, "UPDATE webhook_deliveries SET give_up_at = now(), due_at = now() WHERE due_at IS NOT NULL"
        )
        await attempt_due(worker)
        first, second = await rows(database)
        assert (first.state, first.attempts, first.due_at) == ("dead", 2, None)
        assert first.last_error
        # The next event of the account has its turn.
        assert (second.state, second.attempts) == ("pending", 0)
        receiver.answer = status(200)
        await attempt_due(worker)
    assert receiver.messages[-1].seq == second.seq
    row = await webhook_row(database, made.row.id)
    assert (row.pending, row.dead, row.state) == (0, 1, "active")


async def test_patience_is_three_days_with_growing_delays(
    database: Database, context: Context, new_worker: NewWorker
) -> None:
    async with receiving(Receiver(status(503))) as receiver:
        await add_webhook(context, receiver.url)
        await publish(database, 1)
        worker = new_worker(first_delay=5.0, longest_delay=3600.0)
        waits = []
        for _ in range(12):
            await execute(database, "UPDATE webhook_deliveries SET due_at = now()")
            await attempt_due(worker)
            waits.append((await rows(database))[0].wait)
        patience = (row := (await rows(database))[0]).give_up_at - row.created_at
    assert patience == service.PATIENCE
    assert service.PATIENCE.days == 3
    for attempt, wait in enumerate(waits):
        full = min(5.0 * 2**attempt, 3600.0)
        # Less up to a quarter, and the moment since the outcome was stored.
        assert 0.7 * full - 1 < float(wait) <= full


async def test_an_event_that_is_no_longer_kept_is_given_up(
    database: Database, context: Context, new_worker: NewWorker
) -> None:
    async with receiving(Receiver()) as receiver:
        await add_webhook(context, receiver.url)
        await publish(database, 1)
        worker = new_worker()
        await worker._queue_events()
        await execute(database, "DELETE FROM events")
        await attempt_due(worker)
    assert [(row.state, row.last_error) for row in await rows(database)] == [("dead", "The event is no longer kept")]
    assert receiver.messages == []


async def test_a_secret_of_a_lost_key_disables_its_webhook(
    database: Database, context: Context, new_worker: NewWorker
) -> None:
    async with receiving(Receiver()) as receiver:
        made = await add_webhook(context, receiver.url)
        await execute(database, "UPDATE webhooks SET secret = 'v4.local.unreadable'")
        await publish(database, 1)
        await attempt_due(new_worker())
    row = await webhook_row(database, made.row.id)
    assert row.state == "disabled"
    assert "rotate" in row.disabled_reason
    assert receiver.messages == []


async def test_a_worker_whose_lease_has_passed_changes_nothing(
    database: Database, context: Context, new_worker: NewWorker
) -> None:
    async with receiving(Receiver(hang)) as receiver:
        await add_webhook(context, receiver.url)
        await publish(database, 1)
        slow = new_worker(grace=0.1)
        async with at_work(slow):
            await until(lambda: receiver.open == 1)
            (before,) = await rows(database)
            await execute(database, "UPDATE webhook_deliveries SET lease = lease + 1, attempts = attempts + 1")
            async with database.writing() as connection:
                (held,) = slow._held
                await repository.lock(connection, webhook_id=before.webhook_id)
                assert not await delivery_repository.remove(connection, held.delivery)
                assert not await delivery_repository.postpone(connection, held.delivery, error="x", delay=9)
                assert await delivery_repository.renew(connection, [held.delivery], seconds=9) == set()
    (after,) = await rows(database)
    assert (after.state, after.attempts) == ("pending", before.attempts + 1)


async def test_a_worker_that_was_stopped_sends_nothing_after_its_lease(
    database: Database, context: Context, new_worker: NewWorker
) -> None:
    async with receiving(Receiver()) as receiver:
        await add_webhook(context, receiver.url)
        await publish(database, 1)
        await attempt_due(new_worker(lease=0.0))
    assert receiver.messages == []
    assert len(await rows(database)) == 1
