"""Entity tags of conversations, members and messages: as those of posts."""

import asyncio
from typing import Any

import httpx
import pytest
from content_support import Caller, assert_problem
from conversations_support import Conversations
from kpi_content.conversations.schemas import ConversationPage, ConversationPublic, MemberPage, MemberPublic
from kpi_content.messages.schemas import MessagePage, MessagePublic
from pydantic import BaseModel

PLAIN = {"Accept-Encoding": "identity"}
ADDRESSES: dict[str, type[BaseModel]] = {
    "/conversations": ConversationPage,
    "{conversation}": ConversationPublic,
    "{conversation}/members": MemberPage,
    "{conversation}/members/11": MemberPublic,
    "{conversation}/messages": MessagePage,
    "{conversation}/messages?before=9": MessagePage,
    "{conversation}/messages/{message}": MessagePublic,
    "/messages?search=bees": MessagePage,
}


@pytest.mark.parametrize(("address", "schema"), ADDRESSES.items())
async def test_a_version_that_the_client_has_is_not_sent_again(
    conversations: Conversations, client: httpx.AsyncClient, anna: Caller, address: str, schema: type[BaseModel]
) -> None:
    conversation = await conversations.add()
    message = await conversations.write(conversation, "bees", metadata={"a": 1})
    address = address.format(conversation=conversation, message=message["id"])
    first = await client.get(address, headers=PLAIN | anna.headers)
    assert first.status_code == 200, first.text
    schema.model_validate(first.json(), extra="forbid")
    for condition in (first.headers["ETag"], f"W/{first.headers['ETag']}", "*"):
        again = await client.get(address, headers=PLAIN | anna.headers | {"If-None-Match": condition})
        assert (again.status_code, again.content) == (304, b""), condition
        for name in ("ETag", "Cache-Control", "Vary"):
            assert again.headers[name] == first.headers[name]
    assert first.headers["Cache-Control"] == "private, no-cache"
    other = await client.get(address, headers=PLAIN | anna.headers | {"If-None-Match": '"other"'})
    assert (other.status_code, other.content) == (200, first.content)


async def test_every_change_of_what_is_shown_changes_the_tag(
    conversations: Conversations, client: httpx.AsyncClient, anna: Caller, bert: Caller
) -> None:
    address = await conversations.add()
    await conversations.share(address, bert, "writer")
    tags: list[str] = []

    async def collect() -> None:
        read = [await client.get(place, headers=anna.headers) for place in (address, "/conversations")]
        tags.extend(response.headers["ETag"] for response in read)

    await collect()
    message = await conversations.write(address, by=bert)
    await collect()
    await client.put(f"{address}/read", json={"number": 1}, headers=anna.headers)
    await collect()
    await conversations.delete(f"{address}/messages/{message['id']}")
    await collect()
    await client.patch(address, json={"title": "Another"}, headers=anna.headers)
    await collect()
    await conversations.posts.execute("UPDATE authors SET username = 'renamed' WHERE id = 11")
    await collect()
    await client.patch(f"{address}/members/22", json={"role": "owner"}, headers=anna.headers)
    await client.patch(f"{address}/members/11", json={"role": "reader"}, headers=bert.headers)
    await collect()
    assert len(set(tags)) == len(tags) == 14
    await collect()
    assert len(set(tags)) == 14


WRITES: dict[str, tuple[str, Any]] = {
    "rename": ("PATCH", {"title": "New"}),
    "delete": ("DELETE", None),
    "delete message": ("DELETE", None),
    "change member": ("PATCH", {"role": "writer"}),
    "remove member": ("DELETE", None),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(
    ("form", "matches"),
    [("{tag}", True), ("*", True), ('"a", {tag}', True), ("W/{tag}", False), ('"other"', False)],
)
async def test_a_write_happens_only_if_the_version_matches(
    conversations: Conversations, bert: Caller, write: str, form: str, matches: bool
) -> None:
    client, anna = conversations.client, conversations.owner
    conversation = await conversations.add()
    await conversations.share(conversation, bert)
    message = await conversations.write(conversation)
    parts = {"message": f"/messages/{message['id']}", "member": "/members/22"}
    address = conversation + parts.get(write.partition(" ")[2], "")
    before = await client.get(address, headers=anna.headers)
    method, body = WRITES[write]
    condition = {"If-Match": form.format(tag=before.headers["ETag"])}
    response = await client.request(method, address, json=body, headers=anna.headers | condition)
    after = await client.get(address, headers=anna.headers)
    if matches:
        assert response.is_success, response.text
        assert after.content != before.content
    else:
        assert_problem(response, 412, "changed-meanwhile")
        assert response.headers["ETag"] == before.headers["ETag"]
        assert after.content == before.content


async def test_a_write_sends_the_tag_that_a_read_has(
    conversations: Conversations, client: httpx.AsyncClient, anna: Caller
) -> None:
    address = await conversations.add()
    renamed = await client.patch(address, json={"title": "New"}, headers=anna.headers)
    assert renamed.headers["ETag"] == (await client.get(address, headers=anna.headers)).headers["ETag"]


async def test_what_the_caller_may_not_write_has_no_version(
    conversations: Conversations, client: httpx.AsyncClient, bert: Caller, admin: Caller
) -> None:
    address = await conversations.add()
    await conversations.share(address, bert)
    for caller, (status, slug) in ((bert, (403, "not-an-owner")), (admin, (404, "conversation-not-found"))):
        for method, body in (("PATCH", {"title": "New"}), ("DELETE", None)):
            headers = caller.headers | {"If-Match": '"other"'}
            response = await client.request(method, address, json=body, headers=headers)
            assert_problem(response, status, slug)
            assert "ETag" not in response.headers


async def test_of_two_writers_with_the_same_tag_one_succeeds(
    committed_conversations: Conversations, anna: Caller
) -> None:
    conversations = committed_conversations
    address = await conversations.add()
    tag = (await conversations.client.get(address, headers=anna.headers)).headers["ETag"]
    responses = await asyncio.gather(
        *(
            conversations.client.patch(address, json={"title": title}, headers=anna.headers | {"If-Match": tag})
            for title in ("one", "two", "three")
        )
    )
    assert sorted(response.status_code for response in responses) == [200, 412, 412]
