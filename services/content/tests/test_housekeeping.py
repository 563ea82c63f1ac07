"""Deleting what deleted conversations leave behind, and old events."""

from datetime import timedelta

from conversations_support import Conversations
from kpi_content.conversations import event_repository
from kpi_content.housekeeping import tidy

NOTHING = {"idempotency_keys": 0, "old_events": 0, "messages": 0, "events": 0, "conversations": 0}
TABLES = ("messages", "conversation_events", "conversations")


async def test_a_deleted_conversation_is_gone_after_small_steps(conversations: Conversations) -> None:
    stays, goes = await conversations.add(), await conversations.add()
    for number in range(5):
        await conversations.write(goes, f"{number}")
    await conversations.write(stays)
    await conversations.delete(goes)
    state = conversations.posts.app.state
    assert await tidy(state.database, state.settings, most=2) == NOTHING | {
        "messages": 5,
        "events": 5,
        "conversations": 1,
    }
    for table in TABLES:
        assert await conversations.posts.rows(f"SELECT count(*) FROM {table}") == [(1,)]  # noqa: S608 a name of ours
    assert await tidy(state.database, state.settings) == NOTHING


async def test_a_conversation_waits_until_it_is_empty(conversations: Conversations) -> None:
    address = await conversations.add()
    for _ in range(150):
        await conversations.write(address)
    await conversations.delete(address)
    state = conversations.posts.app.state
    # A run takes a hundred steps.
    assert (await tidy(state.database, state.settings, most=1)) == NOTHING | {
        "messages": 100,
        "events": 100,
    }
    assert (await tidy(state.database, state.settings, most=1))["conversations"] == 1


async def test_events_are_kept_for_a_day(conversations: Conversations) -> None:
    address = await conversations.add()
    for _ in range(3):
        await conversations.write(address)
    await conversations.posts.execute(
        "UPDATE conversation_events SET occurred_at = now() - (26 - seq) * interval '1 hour'"
    )
    state = conversations.posts.app.state
    assert await tidy(state.database, state.settings) == NOTHING | {"old_events": 1}
    assert [seq for seq, _, _ in await conversations.events(address)] == [2, 3]
    assert (await conversations.get(address))["message_count"] == 3


async def test_the_oldest_events_are_deleted_first(conversations: Conversations) -> None:
    """What is kept has no gap after one step, wherever the rows are."""
    address = await conversations.add()
    for _ in range(4):
        await conversations.write(address)
    for seq in (3, 1, 2, 4):
        await conversations.posts.execute(
            "UPDATE conversation_events SET occurred_at = now() - (40 - seq) * interval '1 hour' WHERE seq = :seq",
            seq=seq,
        )
    async with conversations.posts.app.state.database.working() as connection:
        assert await event_repository.forget_old(connection, kept=timedelta(hours=24), most=2) == 2
    assert [seq for seq, _, _ in await conversations.events(address)] == [3, 4]
