"""Deleting what deleted conversations leave behind, and old events."""

from datetime import timedelta

from conversations_support import Conversations
from kpi_content.conversations import event_repository
from kpi_content.housekeeping import tidy
from kpi_shared.housekeeping import MOST

TABLES = ("messages", "conversation_events", "conversations")


async def delete_old(conversations: Conversations, *, most: int = MOST) -> dict[str, int]:
    """The kinds of rows that one run has deleted; further nouns of the service have further kinds."""
    state = conversations.posts.app.state
    deleted = await tidy(state.database, state.settings, most=most)
    return {name: count for name, count in deleted.items() if count}


async def test_a_deleted_conversation_is_gone_after_small_steps(conversations: Conversations) -> None:
    stays, goes = await conversations.add(), await conversations.add()
    for number in range(5):
        await conversations.write(goes, f"{number}")
    await conversations.write(stays)
    await conversations.delete(goes)
    assert await delete_old(conversations, most=2) == {"messages": 5, "events": 5, "conversations": 1}
    for table in TABLES:
        assert await conversations.posts.rows(f"SELECT count(*) FROM {table}") == [(1,)]  # noqa: S608 a name of ours
    assert await delete_old(conversations) == {}


async def test_a_conversation_waits_until_it_is_empty(conversations: Conversations) -> None:
    address = await conversations.add()
    for _ in range(150):
        await conversations.write(address)
    await conversations.delete(address)
    # A run takes a hundred steps.
    assert await delete_old(conversations, most=1) == {"messages": 100, "events": 100}
    assert (await delete_old(conversations, most=1))["conversations"] == 1


async def test_events_are_kept_for_a_day(conversations: Conversations) -> None:
    address = await conversations.add()
    for _ in range(3):
        await conversations.write(address)
    await conversations.posts.execute(
        "UPDATE conversation_events SET occurred_at = now() - (26 - seq) * interval '1 hour'"
    )
    assert await delete_old(conversations) == {"old_events": 1}
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
