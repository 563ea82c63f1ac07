"""Pages of long messages, which end early: a process that encodes a page does nothing else meanwhile."""

from collections.abc import Sequence
from typing import Any

import pytest
from conversations_support import Conversations
from kpi_content.messages.models import MAX_CONTENT
from kpi_content.messages.repository import PAGE_BYTES

COUNT = 25
ADD_LONG = """
    INSERT INTO messages (conversation_id, number, role, content, author_id)
    SELECT :id, n, 'user', rpad('bees', :length, repeat(chr(1), 1000)), 11 FROM generate_series(1, :count) AS n
"""
FITTING = PAGE_BYTES // MAX_CONTENT


async def add_long(conversations: Conversations, length: int = MAX_CONTENT) -> str:
    address = await conversations.add()
    await conversations.posts.execute(ADD_LONG, id=int(address.rpartition("/")[2]), length=length, count=COUNT)
    return address


async def pages(conversations: Conversations, path: str, **params: Any) -> Sequence[list[int]]:
    found = []
    page = await conversations.get(path, **params)
    while page["next"]:
        found.append([item["number"] for item in page["items"]])
        page = await conversations.get(path, **{**params, "cursor": page["next"]})
    return [*found, [item["number"] for item in page["items"]]]


@pytest.mark.parametrize("limit", [FITTING - 1, FITTING, 100])
async def test_a_page_of_long_messages_ends_early(conversations: Conversations, limit: int) -> None:
    address = await add_long(conversations)
    size = min(limit, FITTING)
    in_order = list(range(1, COUNT + 1))
    found = await pages(conversations, f"{address}/messages", limit=limit)
    assert found == [in_order[at : at + size] for at in range(0, COUNT, size)]


async def test_a_page_of_long_messages_ends_early_backwards(conversations: Conversations) -> None:
    address = await add_long(conversations)
    cursor = (await conversations.get(f"{address}/messages", before=COUNT + 1, limit=100))["next"]
    found = await pages(conversations, f"{address}/messages", cursor=cursor, limit=100)
    upto = COUNT - FITTING
    assert found == [list(range(upto - FITTING + 1, upto + 1)), list(range(1, upto - FITTING + 1))]


async def test_a_page_of_found_messages_ends_early(conversations: Conversations) -> None:
    await add_long(conversations)
    found = await pages(conversations, "/messages", search="bees", limit=100)
    newest_first = list(range(COUNT, 0, -1))
    assert found == [newest_first[at : at + FITTING] for at in range(0, COUNT, FITTING)]


async def test_a_page_that_is_just_full_is_followed_by_the_next(conversations: Conversations) -> None:
    """Not by an empty one."""
    address = await add_long(conversations, PAGE_BYTES // 16)
    assert [len(page) for page in await pages(conversations, f"{address}/messages", limit=100)] == [16, COUNT - 16]
    await conversations.posts.execute("DELETE FROM messages WHERE number > 16")
    assert [len(page) for page in await pages(conversations, f"{address}/messages", limit=100)] == [16]
