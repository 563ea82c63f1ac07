"""Many who write in one conversation at once, over real connections."""

import asyncio
from collections.abc import AsyncIterator
from random import Random

import httpx
import pytest
from content_support import ADMIN, ANNA, BERT, Caller, Posts
from conversations_support import Conversations
from fastapi import FastAPI
from kpi_content.app import create_app
from kpi_content.settings import ContentSettings
from kpi_shared.testing.client import client_of, running

WRITERS, EACH = 50, 4
WRONG_COUNTS = """
    SELECT * FROM conversation_members JOIN conversations ON id = conversation_id
    WHERE last_number - read_number - read_gaps <>
        (SELECT count(*) FROM messages WHERE messages.conversation_id = conversations.id AND number > read_number)
"""
OWNERS = """
    SELECT count(*) FROM conversation_members JOIN conversations ON id = conversation_id
    WHERE role = 'owner' AND user_id = owner_id
"""


@pytest.fixture
async def patient(committing_app: FastAPI, settings: ContentSettings, anna: Caller) -> AsyncIterator[Conversations]:
    """A service on the same database that waits for locks, however busy the machine is."""
    waiting = {"database_pool_size": 20, "database_statement_timeout": 30, "database_pool_timeout": 30}
    async with running(create_app(settings.model_copy(update=waiting))) as app, client_of(app) as client:
        yield Conversations(client, Posts(app, client, anna), anna)


async def test_fifty_writers_leave_no_gap_and_no_double(
    patient: Conversations, anna: Caller, bert: Caller, admin: Caller
) -> None:
    conversations = patient
    address = await conversations.add()
    for member in (bert, admin):
        await conversations.share(address, member, "writer")
    writers = (anna, bert, admin)

    async def write(writer: int) -> list[int]:
        by = writers[writer % len(writers)]
        return [(await conversations.write(address, f"{writer} {number}", by=by))["number"] for number in range(EACH)]

    numbers = await asyncio.gather(*(write(writer) for writer in range(WRITERS)))
    assert sorted(number for own in numbers for number in own) == list(range(1, WRITERS * EACH + 1))
    assert all(own == sorted(own) for own in numbers)
    events = await conversations.events(address)
    # Two events of the members come first.
    assert [seq for seq, _, _ in events] == list(range(1, WRITERS * EACH + 3))
    assert [data["number"] for _, kind, data in events if kind == "message.created"] == list(
        range(1, WRITERS * EACH + 1)
    )
    times = await conversations.posts.rows("SELECT created_at FROM messages ORDER BY number")
    assert times == sorted(times)


class Actor:
    """Does one thing after another, in an order of its own, whatever the response is."""

    def __init__(self, client: httpx.AsyncClient, address: str, headers: dict[str, str], random: Random) -> None:
        self.client = client
        self.address = address
        self.headers = headers
        self.random = random

    async def act(self) -> httpx.Response:
        member = f"/members/{self.random.choice((ANNA, BERT, ADMIN))}"
        role = self.random.choice(("owner", "owner", "writer", "reader"))
        return await self.random.choice(
            (
                lambda: self.send("POST", "/messages", {"content": "x"}),
                lambda: self.send("PUT", "/read", {"number": self.random.randrange(5)}),
                lambda: self.send("PATCH", member, {"role": role}),
                lambda: self.send("DELETE", member),
                lambda: self.send("POST", "/members", {"user_id": int(member.rpartition("/")[2]), "role": role}),
                self.delete_message,
            )
        )()

    async def send(self, method: str, path: str, body: object = None) -> httpx.Response:
        return await self.client.request(method, self.address + path, json=body, headers=self.headers)

    async def delete_message(self) -> httpx.Response:
        listed = await self.send("GET", "/messages?limit=3")
        ids = [item["id"] for item in listed.json().get("items", [])] or [1]
        return await self.send("DELETE", f"/messages/{self.random.choice(ids)}")


async def test_everything_at_once_ends_in_an_order(
    patient: Conversations, anna: Caller, bert: Caller, admin: Caller
) -> None:
    """Writing, deleting, reading, changing roles and leaving lock the same rows, and none waits for ever."""
    conversations = patient
    address = await conversations.add()
    for member in (bert, admin):
        await conversations.share(address, member, "owner")
    statuses: set[int] = set()

    async def work(by: Caller, seed: int) -> None:
        actor = Actor(conversations.client, address, by.headers, Random(seed))
        for _ in range(25):
            response = await actor.act()
            statuses.add(response.status_code)
            assert response.status_code < 500, response.text

    await asyncio.gather(*(work(by, seed) for seed, by in enumerate((anna, bert, admin) * 3)))
    assert {200, 201, 204, 404} <= statuses
    rows = conversations.posts.rows
    [(last_event, message_count)] = await rows("SELECT last_event, message_count FROM conversations")
    assert [seq for seq, _, _ in await conversations.events(address)] == list(range(1, last_event + 1))
    assert await rows("SELECT count(*) FROM messages") == [(message_count,)]
    assert await rows(WRONG_COUNTS) == []
    assert await rows(OWNERS) == [(1,)]
