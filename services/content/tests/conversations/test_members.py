"""Sharing conversations, and that an owner stays."""

import asyncio
from typing import Any

import httpx
import pytest
from content_support import Caller, assert_problem
from conversations_support import Conversations
from kpi_content.conversations import member_service
from kpi_content.conversations.schemas import MemberPublic
from sqlalchemy import text

UNKNOWN = 4711


async def add(client: httpx.AsyncClient, address: str, by: Caller, **body: Any) -> httpx.Response:
    return await client.post(f"{address}/members", json=body, headers=by.headers)


async def roles(conversations: Conversations, address: str, by: Caller | None = None) -> dict[str, str]:
    page = await conversations.get(f"{address}/members", by=by)
    return {item["user"]["username"]: item["role"] for item in page["items"]}


async def test_a_member_is_added_by_id_or_by_name(
    conversations: Conversations, client: httpx.AsyncClient, anna: Caller, bert: Caller, admin: Caller
) -> None:
    address = await conversations.add()
    await conversations.know(bert, admin)
    response = await add(client, address, anna, user_id=22, role="writer")
    assert response.status_code == 201, response.text
    MemberPublic.model_validate(response.json(), extra="forbid")
    assert response.json()["user"] == {"id": 22, "username": "bert", "deleted": False}
    assert (response.json()["role"], response.json()["read_number"]) == ("writer", 0)
    location = response.headers["Location"]
    assert location == f"{address}/members/22"
    read = await client.get(location, headers=bert.headers)
    assert (read.json(), read.headers["ETag"]) == (response.json(), response.headers["ETag"])
    assert (await add(client, address, anna, username="ROOT", role="reader")).status_code == 201
    assert await roles(conversations, address, bert) == {"anna": "owner", "bert": "writer", "root": "reader"}
    assert await conversations.events(address) == [
        (1, "member.added", {"user_id": 22, "role": "writer"}),
        (2, "member.added", {"user_id": 33, "role": "reader"}),
    ]


async def test_an_account_that_is_not_known_is_no_member(
    conversations: Conversations, client: httpx.AsyncClient, anna: Caller, bert: Caller, admin: Caller
) -> None:
    address = await conversations.add()
    await conversations.know(bert, admin)
    await conversations.posts.execute("UPDATE authors SET username = NULL, is_deleted = true WHERE id = 33")
    for body in ({"user_id": UNKNOWN}, {"username": "unknown"}, {"user_id": 33}, {"username": "root"}):
        refused = await add(client, address, anna, role="reader", **body)
        assert_problem(refused, 422, "unknown-user")
        assert [error["pointer"] for error in refused.json()["errors"]] == [f"#/body/{name}" for name in body]
    # A name moves from one account to another: until both events are here, it is not clear whose it is.
    await conversations.posts.execute("UPDATE authors SET username = 'Bert', is_deleted = false WHERE id = 33")
    assert_problem(await add(client, address, anna, role="reader", username="bert"), 422, "unknown-user")


@pytest.mark.parametrize("body", [{}, {"user_id": 22, "username": "bert"}, {"user_id": 0}, {"user_id": "22"}])
async def test_exactly_one_account_is_named(
    conversations: Conversations, client: httpx.AsyncClient, anna: Caller, bert: Caller, body: dict[str, Any]
) -> None:
    address = await conversations.add()
    await conversations.know(bert)
    assert_problem(await add(client, address, anna, role="reader", **body), 422, "invalid-request")


async def test_a_member_is_added_once(
    conversations: Conversations, client: httpx.AsyncClient, anna: Caller, bert: Caller
) -> None:
    address = await conversations.add()
    await conversations.share(address, bert, "reader")
    assert_problem(await add(client, address, anna, user_id=22, role="owner"), 409, "already-a-member")
    assert_problem(await add(client, address, anna, user_id=11, role="reader"), 409, "already-a-member")
    assert await roles(conversations, address) == {"anna": "owner", "bert": "reader"}


async def test_a_conversation_has_a_limited_number_of_members(
    conversations: Conversations,
    client: httpx.AsyncClient,
    anna: Caller,
    bert: Caller,
    admin: Caller,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(member_service, "MAX_MEMBERS", 2)
    address = await conversations.add()
    await conversations.share(address, bert)
    await conversations.know(admin)
    assert_problem(await add(client, address, anna, user_id=33, role="reader"), 409, "too-many-members")
    assert await roles(conversations, address) == {"anna": "owner", "bert": "reader"}


async def test_a_role_is_changed_by_owners_only(
    conversations: Conversations, client: httpx.AsyncClient, anna: Caller, bert: Caller
) -> None:
    address = await conversations.add()
    await conversations.share(address, bert, "reader")
    for role in ("writer", "owner"):
        refused = await client.patch(f"{address}/members/22", json={"role": role}, headers=bert.headers)
        assert_problem(refused, 403, "not-an-owner")
    assert_problem(await add(client, address, bert, user_id=22, role="owner"), 403, "not-an-owner")
    written = await client.post(f"{address}/messages", json={"content": "x"}, headers=bert.headers)
    assert_problem(written, 403, "read-only-member")
    changed = await client.patch(f"{address}/members/22", json={"role": "writer"}, headers=anna.headers)
    assert (changed.status_code, changed.json()["role"]) == (200, "writer")
    await conversations.write(address, by=bert)
    same = await client.patch(f"{address}/members/22", json={"role": "writer"}, headers=anna.headers)
    assert same.status_code == 200
    kinds = [(kind, data) for _, kind, data in await conversations.events(address) if kind.startswith("member")]
    assert kinds[1:] == [("member.changed", {"user_id": 22, "role": "writer"})]


async def test_members_leave_and_are_removed(
    conversations: Conversations, client: httpx.AsyncClient, anna: Caller, bert: Caller, admin: Caller
) -> None:
    address = await conversations.add()
    await conversations.share(address, bert, "reader")
    await conversations.share(address, admin, "writer")
    assert_problem(await client.delete(f"{address}/members/33", headers=bert.headers), 403, "not-an-owner")
    await conversations.delete(f"{address}/members/22", by=bert)
    await conversations.delete(f"{address}/members/33", by=anna)
    for member in (bert, admin):
        assert_problem(await client.get(address, headers=member.headers), 404, "conversation-not-found")
    assert_problem(await client.delete(f"{address}/members/33", headers=anna.headers), 404, "member-not-found")
    assert_problem(await client.get(f"{address}/members/33", headers=anna.headers), 404, "member-not-found")
    absent = await client.patch(f"{address}/members/33", json={"role": "reader"}, headers=anna.headers)
    assert_problem(absent, 404, "member-not-found")
    removed = [data for _, kind, data in await conversations.events(address) if kind == "member.removed"]
    assert removed == [{"user_id": 22}, {"user_id": 33}]


async def test_the_last_owner_stays(
    conversations: Conversations, client: httpx.AsyncClient, anna: Caller, bert: Caller
) -> None:
    address = await conversations.add()
    await conversations.share(address, bert, "writer")
    own = f"{address}/members/11"
    assert_problem(await client.delete(own, headers=anna.headers), 409, "last-owner")
    demoted = await client.patch(own, json={"role": "writer"}, headers=anna.headers)
    assert_problem(demoted, 409, "last-owner")
    await client.patch(f"{address}/members/22", json={"role": "owner"}, headers=anna.headers)
    # The account of the other owner is deleted, who can do nothing any more.
    await conversations.posts.execute("UPDATE authors SET username = NULL, is_deleted = true WHERE id = 22")
    assert_problem(await client.delete(own, headers=anna.headers), 409, "last-owner")
    await conversations.posts.execute("UPDATE authors SET username = 'bert', is_deleted = false WHERE id = 22")
    assert (await conversations.get(address))["owner"]["id"] == 11
    await conversations.delete(own)
    shown = await conversations.get(address, by=bert)
    assert (shown["owner"]["id"], shown["role"]) == (22, "owner")


async def test_a_deleted_account_is_shown_without_its_name(conversations: Conversations, bert: Caller) -> None:
    address = await conversations.add()
    await conversations.share(address, bert, "writer")
    await conversations.write(address, by=bert)
    await conversations.posts.execute("UPDATE authors SET username = NULL, is_deleted = true WHERE id = 22")
    nameless = {"id": 22, "username": None, "deleted": True}
    assert (await conversations.get(f"{address}/members/22"))["user"] == nameless
    assert (await conversations.get(f"{address}/messages"))["items"][0]["author"] == nameless


async def test_the_list_of_members_has_pages(conversations: Conversations, bert: Caller, admin: Caller) -> None:
    address = await conversations.add()
    for member in (admin, bert):
        await conversations.share(address, member)
    first = await conversations.get(f"{address}/members", limit=2)
    second = await conversations.get(f"{address}/members", limit=2, cursor=first["next"])
    assert [item["user"]["id"] for item in (*first["items"], *second["items"])] == [11, 22, 33]
    assert second["next"] is None


@pytest.mark.parametrize(("by_anna", "by_bert", "late"), [(11, 22, 409), (22, 11, 404)])
async def test_of_two_owners_who_leave_or_remove_each_other_at_once_one_stays(
    committed_conversations: Conversations, anna: Caller, bert: Caller, by_anna: int, by_bert: int, late: int
) -> None:
    conversations = committed_conversations
    for _ in range(5):
        address = await conversations.add()
        await conversations.share(address, bert, "owner")
        responses = await asyncio.gather(
            conversations.client.delete(f"{address}/members/{by_anna}", headers=anna.headers),
            conversations.client.delete(f"{address}/members/{by_bert}", headers=bert.headers),
        )
        assert sorted(response.status_code for response in responses) == [204, late]
        removed = by_anna if responses[0].status_code == 204 else by_bert
        stays = bert if removed == 11 else anna
        assert await roles(conversations, address, stays) == {stays.subject.username: "owner"}
        assert (await conversations.get(address, by=stays))["owner"]["id"] == stays.subject.id


async def test_the_account_of_the_owner_who_stays_is_not_deleted_meanwhile(
    committed_conversations: Conversations, anna: Caller, bert: Caller
) -> None:
    conversations = committed_conversations
    address = await conversations.add()
    await conversations.share(address, bert, "owner")
    async with conversations.posts.app.state.database.writing() as connection:
        # The request waits after its check.
        await connection.execute(text("SELECT FROM conversation_members WHERE user_id = 11 FOR UPDATE"))
        leaving = asyncio.create_task(
            conversations.client.delete(f"{address}/members/11", headers=anna.headers),
        )
        await conversations.wait_for_locks(leaving)
        deleting = asyncio.create_task(
            conversations.posts.execute("UPDATE authors SET username = NULL, is_deleted = true WHERE id = 22")
        )
        await conversations.wait_for_locks(leaving, deleting)
    assert (await leaving).status_code == 204
    await deleting
    assert (await conversations.get(address, by=bert))["owner"] == {"id": 22, "username": None, "deleted": True}
