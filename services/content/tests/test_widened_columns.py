"""A migration that widens a column while requests run."""

import asyncio
from collections import Counter

import httpx
from content_support import Caller, Posts


async def test_no_request_fails_while_a_column_is_widened(
    committed_posts: Posts, committing_client: httpx.AsyncClient, anna: Caller, bert: Caller
) -> None:
    post = await committed_posts.add(content="a text")
    body = {"title": "A title", "content": ""}
    statuses: Counter[int] = Counter()
    rounds = asyncio.Semaphore(0)

    async def load() -> None:
        send = committing_client.request
        while True:
            responses = [
                await send("GET", f"/posts/{post['id']}"),
                await send("GET", "/posts"),
                await send("GET", "/posts?search=text&total=true"),
                await send("PATCH", f"/posts/{post['id']}", json={"content": "another text"}, headers=anna.headers),
                await send("POST", "/votes", json={"post_id": post["id"], "direction": 1}, headers=bert.headers),
                await send("POST", "/posts", json=body, headers=anna.headers),
            ]
            statuses.update(response.status_code for response in responses)
            rounds.release()

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        tasks = [group.create_task(load()) for _ in range(4)]
        for kind in ("varchar(255)", "text", None):
            # More rounds than statements run before the driver prepares them.
            for _ in range(40):
                await rounds.acquire()
            if kind is not None:
                await committed_posts.execute(f"ALTER TABLE authors ALTER COLUMN username TYPE {kind}")
        for task in tasks:
            task.cancel()
    assert set(statuses) == {200, 201}
