"""Writing, reading and deleting messages."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from content_support import Caller, assert_problem
from conversations_support import Conversations
from kpi_content.messages.models import MAX_CONTENT
from kpi_content.messages.schemas import MessagePublic
from kpi_shared.fields.documents import MAX_BYTES


async def test_a_new_message_is_the_same_in_the_response_and_when_read(
    conversations: Conversations, client: httpx.AsyncClient, anna: Caller
) -> None:
    address = await conversations.add()
    sent = {
        "role": "assistant",
        "content": "They\ndance.",
        "metadata": {"model": "bee", "tokens": [1, 2.5, None, True]},
    }
    response = await client.post(f"{address}/messages", json=sent, headers=anna.headers)
    assert response.status_code == 201, response.text
    shown = response.json()
    assert {name: shown[name] for name in sent} == sent
    assert shown["number"] == 1
    assert shown["conversation_id"] == int(address.rpartition("/")[2])
    assert shown["author"] == {"id": 11, "username": "anna", "deleted": False}
    assert shown["interrupted"] is False
    assert datetime.now(UTC) - datetime.fromisoformat(shown["created_at"]) < timedelta(minutes=1)
    assert response.headers["Location"] == f"{address}/messages/{shown['id']}"
    read = await client.get(response.headers["Location"], headers=anna.headers)
    assert read.json() == shown
    assert read.headers["ETag"] == response.headers["ETag"]
    MessagePublic.model_validate(shown, extra="forbid")


async def test_numbers_follow_each_other_and_are_not_given_again(conversations: Conversations) -> None:
    address = await conversations.add()
    first, second = await conversations.write(address), await conversations.write(address)
    await conversations.delete(f"{address}/messages/{second['id']}")
    third = await conversations.write(address)
    assert [first["number"], second["number"], third["number"]] == [1, 2, 3]
    assert await conversations.events(address) == [
        (1, "message.created", {"number": 1, "id": first["id"], "draft": None}),
        (2, "message.created", {"number": 2, "id": second["id"], "draft": None}),
        (3, "message.deleted", {"number": 2, "id": second["id"]}),
        (4, "message.created", {"number": 3, "id": third["id"], "draft": None}),
    ]


async def test_a_message_without_role_and_metadata_is_of_a_user(conversations: Conversations) -> None:
    message = await conversations.write(await conversations.add())
    assert (message["role"], message["metadata"]) == ("user", None)


@pytest.mark.parametrize("character", ["🐝", "가", "ộ", "a\u0301"], ids=["bee", "hangul", "composed", "decomposed"])
async def test_the_longest_content_is_stored_and_found(conversations: Conversations, character: str) -> None:
    """To its end, also where a part of its normalization makes it longer."""
    address = await conversations.add()
    content = (character * MAX_CONTENT)[: MAX_CONTENT - 5] + " wasp"
    message = await conversations.write(address, content)
    assert (await conversations.get(f"{address}/messages/{message['id']}"))["content"] == content
    assert [item["id"] for item in (await conversations.get("/messages", search="wasp"))["items"]] == [message["id"]]


async def test_many_long_words_are_stored(conversations: Conversations) -> None:
    """The index of words holds 1 MiB. One character becomes 18 when it is folded, and stemming doubles words."""
    address = await conversations.add()
    for word in ("\ufdfa" * 10, "漢" * 20, "𐌰" * 20):
        words = (f"{word}{chr(0x4E00 + n % 2000)}{chr(0x4E00 + n // 2000)}s" for n in range(MAX_CONTENT))
        await conversations.write(address, " ".join(words)[:MAX_CONTENT])


def nest(levels: int) -> dict[str, Any]:
    return {"a": [nest(levels - 2)] if levels > 2 else {}} if levels > 1 else {}


@pytest.mark.parametrize(
    "metadata",
    [{}, nest(8), {"a" * (MAX_BYTES - 6): 1}, {"": ""}, {"a": 10**300}, {"a": [1.5, -1e15, 1e-6]}, {"é": "🐝"}],
)
async def test_metadata_is_stored_as_it_is(conversations: Conversations, metadata: dict[str, Any]) -> None:
    address = await conversations.add()
    message = await conversations.write(address, metadata=metadata)
    assert message["metadata"] == metadata
    assert (await conversations.get(f"{address}/messages/{message['id']}"))["metadata"] == metadata


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        (nest(9), "too_deep"),
        ({"a": [[[[[[[[]]]]]]]]}, "too_deep"),
        ({"a" * (MAX_BYTES - 5): 1}, "too_large"),
        ({"a": "é" * (MAX_BYTES // 2)}, "too_large"),
        ({"a": [1e300] * 60}, "too_large"),
        ({"a": [1e-300] * 60}, "too_large"),
        ({"a": ["nul\0"]}, "nul_character"),
        ({"nul\0": 1}, "nul_character"),
        ({"a": {"b": "\ud800"}}, "lone_surrogate"),
        ({"\udfff": 1}, "lone_surrogate"),
        ([1], "dict_type"),
        ("text", "dict_type"),
    ],
)
async def test_metadata_is_a_bounded_object(
    conversations: Conversations, client: httpx.AsyncClient, anna: Caller, metadata: object, reason: str
) -> None:
    address = await conversations.add()
    sent = json.dumps({"content": "x", "metadata": metadata})
    headers = {**anna.headers, "Content-Type": "application/json"}
    response = await client.post(f"{address}/messages", content=sent, headers=headers)
    assert_problem(response, 422, "invalid-request")
    assert [error["type"] for error in response.json()["errors"]] == [reason]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "[" * 100_000 + "]" * 100_000, "9" * 5000])
async def test_what_is_no_json_of_the_standard_is_refused(
    conversations: Conversations, client: httpx.AsyncClient, anna: Caller, number: str
) -> None:
    address = await conversations.add()
    sent = f'{{"content": "x", "metadata": {{"a": {number}}}}}'
    headers = {**anna.headers, "Content-Type": "application/json"}
    response = await client.post(f"{address}/messages", content=sent, headers=headers)
    assert response.status_code in {400, 422}, response.text


@pytest.mark.parametrize(
    "change",
    [{"content": ""}, {"content": "x" * (MAX_CONTENT + 1)}, {"content": "nul\0 "}, {"role": "bee"}, {"unknown": 1}],
)
async def test_a_message_that_is_not_valid_is_refused(
    conversations: Conversations, client: httpx.AsyncClient, anna: Caller, change: dict[str, Any]
) -> None:
    address = await conversations.add()
    body = {"content": "text", **change}
    response = await client.post(f"{address}/messages", json=body, headers=anna.headers)
    assert_problem(response, 422, "invalid-request")
    assert ("must not contain the NUL character" in response.json()["detail"]) == ("nul" in body["content"])
    assert (await conversations.get(address))["last_number"] == 0


async def test_pages_go_both_ways_and_are_in_order(conversations: Conversations) -> None:
    address = await conversations.add()
    messages = [await conversations.write(address, f"message {number}") for number in range(1, 8)]
    await conversations.delete(f"{address}/messages/{messages[3]['id']}")

    async def numbers(**params: Any) -> tuple[list[int], str | None]:
        page = await conversations.get(f"{address}/messages", limit=2, **params)
        return [item["number"] for item in page["items"]], page["next"]

    async def pages(**params: Any) -> list[list[int]]:
        page, cursor = await numbers(**params)
        found = [page]
        while cursor:
            page, cursor = await numbers(cursor=cursor)
            found.append(page)
        return found

    assert await pages() == [[1, 2], [3, 5], [6, 7]]
    assert await pages(after=3) == [[5, 6], [7]]
    assert await pages(before=8) == [[6, 7], [3, 5], [1, 2]]
    assert await pages(before=6) == [[3, 5], [1, 2]]
    assert await pages(after=7) == [[]]
    assert await pages(before=1) == [[]]


async def test_a_list_has_one_start(conversations: Conversations, client: httpx.AsyncClient, anna: Caller) -> None:
    address = await conversations.add()
    for _ in range(2):
        await conversations.write(address)
    cursor = (await conversations.get(f"{address}/messages", limit=1))["next"]
    for params in ({"after": "1", "before": "2"}, {"after": "1", "cursor": cursor}, {"before": "1", "cursor": cursor}):
        response = await client.get(f"{address}/messages", params=params, headers=anna.headers)
        assert_problem(response, 422, "invalid-request")
        assert response.json()["errors"][0]["type"] == "several_starts"
    other = await conversations.add()
    response = await client.get(f"{other}/messages", params={"cursor": cursor}, headers=anna.headers)
    assert_problem(response, 422, "invalid-cursor")


async def test_the_message_before_a_deleted_last_one_is_the_last(conversations: Conversations) -> None:
    address = await conversations.add()
    first, second, third = [await conversations.write(address, text) for text in ("one", "two", "three")]
    expected = [(third, "three"), (third, "three"), (first, "one"), (None, None)]
    for message, (last, excerpt) in zip((None, second, third, first), expected, strict=True):
        if message is not None:
            await conversations.delete(f"{address}/messages/{message['id']}")
        shown = await conversations.get(address)
        assert shown["last_message_at"] == (last["created_at"] if last else None)
        assert shown["last_excerpt"] == excerpt
    assert (shown["last_number"], shown["message_count"], shown["unread"]) == (3, 0, 0)


async def test_a_message_is_deleted_by_its_author_and_by_owners(
    conversations: Conversations, client: httpx.AsyncClient, bert: Caller, anna: Caller
) -> None:
    address = await conversations.add()
    await conversations.share(address, bert, "writer")
    of_anna, of_bert, other = [await conversations.write(address, by=by) for by in (anna, bert, bert)]
    refused = await client.delete(f"{address}/messages/{of_anna['id']}", headers=bert.headers)
    assert_problem(refused, 403, "not-your-message")
    await conversations.delete(f"{address}/messages/{of_bert['id']}", by=bert)
    await conversations.delete(f"{address}/messages/{other['id']}", by=anna)
    again = await client.delete(f"{address}/messages/{other['id']}", headers=anna.headers)
    assert_problem(again, 404, "message-not-found")
    gone = await client.get(f"{address}/messages/{other['id']}", headers=anna.headers)
    assert_problem(gone, 404, "message-not-found")


async def test_a_message_of_another_conversation_is_not_found(
    conversations: Conversations, client: httpx.AsyncClient, anna: Caller
) -> None:
    address, other = await conversations.add(), await conversations.add()
    message = await conversations.write(address)
    for method in ("GET", "DELETE"):
        response = await client.request(method, f"{other}/messages/{message['id']}", headers=anna.headers)
        assert_problem(response, 404, "message-not-found")
    assert (await conversations.get(other))["message_count"] == 0
