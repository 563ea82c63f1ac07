"""Read marks, and the number of messages above them."""

from typing import Any

import httpx
import pytest
from content_support import Caller, assert_problem
from conversations_support import Conversations


async def mark(conversations: Conversations, address: str, number: int, by: Caller) -> dict[str, Any]:
    response = await conversations.client.put(f"{address}/read", json={"number": number}, headers=by.headers)
    assert response.status_code == 200, response.text
    shown: dict[str, Any] = response.json()
    return shown


async def unread(conversations: Conversations, address: str, by: Caller) -> int:
    """The same number in the conversation itself and in the list."""
    [listed] = (await conversations.get("/conversations", by=by))["items"]
    shown = await conversations.get(address, by=by)
    assert listed == shown
    number: int = shown["unread"]
    return number


async def test_messages_of_others_are_unread_until_the_mark_moves(
    conversations: Conversations, anna: Caller, bert: Caller
) -> None:
    address = await conversations.add()
    await conversations.share(address, bert)
    for _ in range(3):
        await conversations.write(address)
    assert await unread(conversations, address, anna) == 0
    assert await unread(conversations, address, bert) == 3
    assert await mark(conversations, address, 2, bert) == {"read_number": 2, "unread": 1}
    assert await unread(conversations, address, bert) == 1
    assert (await conversations.get(address, by=bert))["read_number"] == 2
    assert (await conversations.events(address))[-1] == (5, "conversation.read", {"user_id": 22, "number": 2})
    assert (await conversations.get(f"{address}/members/22"))["read_number"] == 2


async def test_the_mark_moves_backwards_and_writing_moves_it_to_the_end(
    conversations: Conversations, anna: Caller, bert: Caller
) -> None:
    address = await conversations.add()
    await conversations.share(address, bert, "writer")
    for _ in range(3):
        await conversations.write(address)
    assert await mark(conversations, address, 1, anna) == {"read_number": 1, "unread": 2}
    assert await mark(conversations, address, 0, anna) == {"read_number": 0, "unread": 3}
    await conversations.write(address, by=bert)
    assert await unread(conversations, address, bert) == 0
    assert await unread(conversations, address, anna) == 4


async def test_a_mark_that_does_not_move_is_no_event(conversations: Conversations, anna: Caller) -> None:
    address = await conversations.add()
    await conversations.write(address)
    assert await mark(conversations, address, 1, anna) == {"read_number": 1, "unread": 0}
    assert [kind for _, kind, _ in await conversations.events(address)] == ["message.created"]


async def test_deleted_messages_are_not_unread(conversations: Conversations, anna: Caller, bert: Caller) -> None:
    address = await conversations.add()
    await conversations.share(address, bert)
    messages = [await conversations.write(address) for _ in range(6)]
    await mark(conversations, address, 2, bert)
    for number in (1, 3, 6):
        await conversations.delete(f"{address}/messages/{messages[number - 1]['id']}")
    assert await unread(conversations, address, bert) == 2
    # The numbers of deleted messages can be read, too: a client that was away names one of them.
    for number, expected in ((0, 3), (3, 2), (4, 1), (6, 0), (5, 0), (1, 3)):
        assert (await mark(conversations, address, number, bert))["unread"] == expected
        assert await unread(conversations, address, bert) == expected
    assert await unread(conversations, address, anna) == 0


async def test_a_new_member_has_read_nothing(conversations: Conversations, bert: Caller) -> None:
    address = await conversations.add()
    messages = [await conversations.write(address) for _ in range(4)]
    await conversations.delete(f"{address}/messages/{messages[1]['id']}")
    await conversations.share(address, bert)
    assert await unread(conversations, address, bert) == 3


@pytest.mark.parametrize("number", [2, 2**63 - 1, -1, 1.0, "1", None])
async def test_only_a_number_that_has_been_given_is_read(
    conversations: Conversations, client: httpx.AsyncClient, anna: Caller, number: object
) -> None:
    address = await conversations.add()
    await conversations.write(address)
    response = await client.put(f"{address}/read", json={"number": number}, headers=anna.headers)
    is_number = type(number) is int and number > 0
    assert_problem(response, 422, "number-not-given" if is_number else "invalid-request")
    assert [error["pointer"] for error in response.json()["errors"]] == ["#/body/number"]
