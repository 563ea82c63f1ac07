"""Creating, listing, renaming and deleting conversations."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from content_support import Caller, assert_problem
from conversations_support import Conversations
from kpi_content.conversations.models import MAX_TITLE
from kpi_content.conversations.schemas import ConversationPublic


async def test_a_new_conversation_is_the_same_in_the_response_and_when_read(
    client: httpx.AsyncClient, anna: Caller
) -> None:
    response = await client.post("/conversations", json={"title": " Of bees "}, headers=anna.headers)
    assert response.status_code == 201, response.text
    shown = response.json()
    created_at = shown.pop("created_at")
    assert datetime.now(UTC) - datetime.fromisoformat(created_at) < timedelta(minutes=1)
    assert shown.pop("updated_at") == created_at
    conversation_id = shown.pop("id")
    assert shown == {
        "title": "Of bees",
        "last_number": 0,
        "message_count": 0,
        "last_message_at": None,
        "last_excerpt": None,
        "owner": {"id": 11, "username": "anna", "deleted": False},
        "role": "owner",
        "read_number": 0,
        "unread": 0,
    }
    assert response.headers["Location"] == f"/conversations/{conversation_id}"
    read = await client.get(response.headers["Location"], headers=anna.headers)
    assert read.json() == response.json()
    assert read.headers["ETag"] == response.headers["ETag"]
    assert read.headers["Cache-Control"] == "private, no-cache"
    ConversationPublic.model_validate(read.json(), extra="forbid")


@pytest.mark.parametrize("title", ["", " ", "x" * (MAX_TITLE + 1), "two\nlines", "nul\0", None, 1])
async def test_a_title_is_one_line_of_limited_length(client: httpx.AsyncClient, anna: Caller, title: object) -> None:
    made = await client.post("/conversations", json={"title": title}, headers=anna.headers)
    assert_problem(made, 422, "invalid-request")
    assert made.json()["errors"][0]["pointer"] == "#/body/title"


async def test_the_longest_title_is_stored(conversations: Conversations) -> None:
    address = await conversations.add("é" * MAX_TITLE)
    assert (await conversations.get(address))["title"] == "é" * MAX_TITLE


async def test_the_list_has_the_newest_activity_first_and_pages_by_it(
    conversations: Conversations, anna: Caller, bert: Caller
) -> None:
    addresses = [await conversations.add(f"number {number}") for number in range(5)]
    await conversations.add("of bert", by=bert)
    # In a transaction of a test all have one time of creation, so their ids decide.
    for number in (1, 3):
        await conversations.write(addresses[number], f"to {number}")
    found, cursor = [], None
    for _ in range(3):
        page = await conversations.get("/conversations", limit=2, **({"cursor": cursor} if cursor else {}))
        found += [item["title"] for item in page["items"]]
        cursor = page["next"]
    assert cursor is None
    assert found == ["number 3", "number 1", "number 4", "number 2", "number 0"]


async def test_a_cursor_of_another_member_is_refused(
    conversations: Conversations, client: httpx.AsyncClient, bert: Caller
) -> None:
    for _ in range(2):
        await conversations.add()
    cursor = (await conversations.get("/conversations", limit=1))["next"]
    response = await client.get("/conversations", params={"cursor": cursor}, headers=bert.headers)
    assert_problem(response, 422, "invalid-cursor")


async def test_the_last_message_is_shown_with_the_beginning_of_its_text(conversations: Conversations) -> None:
    address = await conversations.add()
    await conversations.write(address, "first")
    message = await conversations.write(address, "  two\n\tlines " + "x" * 500)
    shown = await conversations.get(address)
    assert shown["last_message_at"] == message["created_at"]
    assert shown["last_excerpt"] == "two lines " + "x" * 190
    assert (shown["last_number"], shown["message_count"]) == (2, 2)


async def test_only_owners_rename(
    conversations: Conversations, client: httpx.AsyncClient, anna: Caller, bert: Caller
) -> None:
    address = await conversations.add()
    await conversations.share(address, bert, "writer")
    refused = await client.patch(address, json={"title": "Of wasps"}, headers=bert.headers)
    assert_problem(refused, 403, "not-an-owner")
    response = await client.patch(address, json={"title": "Of wasps"}, headers=anna.headers)
    assert response.status_code == 200, response.text
    assert response.json()["title"] == "Of wasps"
    assert response.json()["updated_at"] > response.json()["created_at"]
    assert response.json() == await conversations.get(address)
    assert (await conversations.events(address))[-1] == (2, "conversation.changed", {})


async def test_a_deleted_conversation_exists_for_no_member(
    conversations: Conversations, client: httpx.AsyncClient, anna: Caller, bert: Caller
) -> None:
    address = await conversations.add()
    await conversations.share(address, bert, "writer")
    message = await conversations.write(address)
    refused = await client.delete(address, headers=bert.headers)
    assert_problem(refused, 403, "not-an-owner")
    await conversations.delete(address)
    for member in (anna, bert):
        for path in (address, f"{address}/messages", f"{address}/messages/{message['id']}", f"{address}/members"):
            assert_problem(await client.get(path, headers=member.headers), 404, "conversation-not-found")
        assert (await conversations.get("/conversations", by=member))["items"] == []
        assert (await conversations.get("/messages", by=member, search="hello"))["items"] == []
        written = await client.post(f"{address}/messages", json={"content": "more"}, headers=member.headers)
        assert_problem(written, 404, "conversation-not-found")
    assert_problem(await client.delete(address, headers=anna.headers), 404, "conversation-not-found")
