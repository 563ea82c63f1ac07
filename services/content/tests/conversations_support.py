"""Conversations for tests, through the service."""

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx
from content_support import Caller, Posts

_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


class Conversations:
    """Makes conversations with members and messages; ``posts`` reads and changes the database."""

    def __init__(self, client: httpx.AsyncClient, posts: Posts, owner: Caller) -> None:
        self.client = client
        self.posts = posts
        self.owner = owner

    async def add(self, title: str = "Of bees", *, by: Caller | None = None) -> str:
        """The address of a new conversation, anna's by default."""
        body = {"title": title}
        response = await self.client.post("/conversations", json=body, headers=(by or self.owner).headers)
        assert response.status_code == 201, response.text
        return response.headers["Location"]

    async def share(self, address: str, member: Caller, role: str = "reader") -> None:
        """Make the account known, and a member."""
        await self.know(member)
        body = {"user_id": member.subject.id, "role": role}
        response = await self.client.post(f"{address}/members", json=body, headers=self.owner.headers)
        assert response.status_code == 201, response.text

    async def know(self, *accounts: Caller) -> None:
        for account in accounts:
            await self.posts.execute(
                "INSERT INTO authors (id, username) VALUES (:id, :username) ON CONFLICT DO NOTHING",
                id=account.subject.id,
                username=account.subject.username,
            )

    async def write(
        self, address: str, content: str = "hello", *, by: Caller | None = None, **more: Any
    ) -> dict[str, Any]:
        body = {"content": content, **more}
        response = await self.client.post(f"{address}/messages", json=body, headers=(by or self.owner).headers)
        assert response.status_code == 201, response.text
        shown: dict[str, Any] = response.json()
        return shown

    async def get(self, path: str, *, by: Caller | None = None, **params: Any) -> dict[str, Any]:
        response = await self.client.get(path, params=params, headers=(by or self.owner).headers)
        assert response.status_code == 200, response.text
        shown: dict[str, Any] = response.json()
        return shown

    async def delete(self, path: str, *, by: Caller | None = None) -> None:
        response = await self.client.delete(path, headers=(by or self.owner).headers)
        assert response.status_code == 204, response.text

    async def events(self, address: str) -> Sequence[tuple[Any, ...]]:
        """The places, types and data of the events of a conversation."""
        statement = "SELECT seq, type, data FROM conversation_events WHERE conversation_id = :id ORDER BY seq"
        return await self.posts.rows(statement, id=int(address.rpartition("/")[2]))

    async def wait_for_locks(self, *tasks: asyncio.Task[Any]) -> None:
        """Until each of the tasks has ended or waits for a lock that another transaction holds."""
        async with asyncio.timeout(10):
            while await self._count_waiting() < sum(not task.done() for task in tasks):  # noqa: ASYNC110 no event
                await asyncio.sleep(0.01)

    async def _count_waiting(self) -> int:
        [(count,)] = await self.posts.rows(_WAITING)
        return int(count)
