"""The search of messages: only those that the caller may see, newest first."""

import asyncio

import httpx
import pytest
from content_support import Caller, assert_problem
from conversations_support import Conversations
from kpi_content.conversations import member_repository
from kpi_shared.places import Places


async def found(conversations: Conversations, q: str, *, by: Caller | None = None, **params: object) -> list[str]:
    page = await conversations.get("/messages", by=by, search=q, **params)
    return [item["content"] for item in page["items"]]


async def test_only_messages_that_the_caller_may_see_are_found(
    conversations: Conversations, anna: Caller, bert: Caller, admin: Caller
) -> None:
    own, shared, of_bert = await conversations.add(), await conversations.add(), await conversations.add(by=bert)
    await conversations.share(shared, bert)
    await conversations.write(own, "bees of anna")
    await conversations.write(shared, "bees of both")
    await conversations.write(of_bert, "bees of bert", by=bert)
    assert await found(conversations, "bees") == ["bees of both", "bees of anna"]
    assert await found(conversations, "bees", by=bert) == ["bees of bert", "bees of both"]
    assert await found(conversations, "bees", by=admin) == []
    conversation_id = own.rpartition("/")[2]
    assert await found(conversations, "bees", conversation_id=conversation_id) == ["bees of anna"]
    assert await found(conversations, "bees", by=bert, conversation_id=conversation_id) == []
    await conversations.delete(f"{shared}/members/22")
    assert await found(conversations, "bees", by=bert) == ["bees of bert"]


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("dances", True),
        ("BÉES", True),
        ("dan", True),
        ('"the bees"', True),
        ('"bees the"', False),
        ("bees -dance", False),
        ("bees -wasps", True),
        ("-wasps", True),
        ("wasps", False),
        ("...", False),
        (" ", False),
        ("#1", False),
    ],
)
async def test_the_language_is_that_of_posts(conversations: Conversations, q: str, expected: bool) -> None:
    address = await conversations.add()
    await conversations.write(address, "So the bees dance.")
    assert bool(await found(conversations, q)) is expected


async def test_no_text_names_a_conversation(conversations: Conversations, bert: Caller) -> None:
    """The index has a word for each conversation, which a search adds: no search of a user, and no text, has it."""
    address = await conversations.add()
    await conversations.write(address, "bees")
    own = await conversations.add(by=bert)
    await conversations.write(own, f"#{address.rpartition('/')[2]} wasps", by=bert)
    assert await found(conversations, "wasps") == []
    for q in (f"#{address.rpartition('/')[2]}", f"'#{address.rpartition('/')[2]}'"):
        assert "bees" not in await found(conversations, q, by=bert)


async def test_pages_follow_each_other(
    conversations: Conversations, client: httpx.AsyncClient, anna: Caller, bert: Caller
) -> None:
    addresses = [await conversations.add() for _ in range(2)]
    for number in range(5):
        await conversations.write(addresses[number % 2], f"bees {number}")
    contents, cursor = [], None
    for _ in range(3):
        params = {"search": "bees", "limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = await conversations.get("/messages", **params)
        contents += [item["content"] for item in page["items"]]
        cursor = page["next"]
    assert cursor is None
    assert contents == [f"bees {number}" for number in (4, 3, 2, 1, 0)]
    cursor = (await conversations.get("/messages", search="bees", limit=2))["next"]
    for params, headers in (({"search": "wasps"}, anna.headers), ({"search": "bees"}, bert.headers)):
        response = await client.get("/messages", params=params | {"cursor": cursor}, headers=headers)
        assert_problem(response, 422, "invalid-cursor")


async def test_with_very_many_conversations_the_same_is_found(conversations: Conversations, bert: Caller) -> None:
    addresses = [await conversations.add() for _ in range(3)]
    await conversations.posts.execute("""
        WITH more AS (INSERT INTO conversations (title, owner_id) SELECT 'more', 11 FROM generate_series(1, 300)
            RETURNING id)
        INSERT INTO conversation_members (conversation_id, user_id, role) SELECT id, 11, 'owner' FROM more
    """)
    assert member_repository.MAX_SCOPE < 300
    for address in addresses:
        await conversations.write(address, "bees")
    await conversations.write(await conversations.add(by=bert), "bees of bert", by=bert)
    assert await found(conversations, "bees") == ["bees"] * 3


async def test_a_search_without_a_place_is_refused_and_reads_go_on(
    conversations: Conversations, client: httpx.AsyncClient, anna: Caller, one_place: Places
) -> None:
    address = await conversations.add()
    path = "/messages?search=bees"
    with await one_place.take("other"):
        waiting = asyncio.create_task(client.get(path, headers=anna.headers))
        while not one_place.waiting:  # noqa: ASYNC110 there is no event
            await asyncio.sleep(0)
        assert_problem(await client.get(path, headers=anna.headers), 503, "search-busy")
        await conversations.get(f"{address}/messages")
    assert (await waiting).status_code == 200
