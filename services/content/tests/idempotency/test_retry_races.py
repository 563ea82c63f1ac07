"""Equal requests at once, over two applications on one database, on real connections."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import httpx
import pytest
from content_support import Caller, Posts, assert_problem
from fastapi import FastAPI, Response
from kpi_content.app import create_app
from kpi_content.settings import ContentSettings
from kpi_shared.idempotency.sealing import ResponseSeal
from kpi_shared.testing.client import client_of, running
from sqlalchemy import Engine, event, text

POST = {"title": "Of bees", "content": "They dance."}
AT_ONCE = 20
_POSTS = "relation = 'posts'::regclass"


@pytest.fixture
async def second_client(settings: ContentSettings) -> AsyncIterator[httpx.AsyncClient]:
    async with running(create_app(settings)) as app, client_of(app) as client:
        yield client


async def send(client: httpx.AsyncClient, by: Caller, key: str) -> httpx.Response:
    return await client.post("/posts", json=POST, headers=by.headers | {"Idempotency-Key": key})


async def count(posts: Posts) -> int:
    return int((await posts.rows("SELECT count(*) FROM posts"))[0][0])


@asynccontextmanager
async def locked_posts(app: FastAPI) -> AsyncIterator[None]:
    """No post can be added meanwhile."""
    async with app.state.database.writing() as connection:
        await connection.execute(text("LOCK TABLE posts IN SHARE MODE"))
        yield


async def wait_for_waiting(posts: Posts, number: int = 1, *, of: str = _POSTS) -> None:
    waiting = f"SELECT count(*) FROM pg_locks WHERE NOT granted AND {of}"  # noqa: S608
    async with asyncio.timeout(5):
        while await posts.rows(waiting) != [(number,)]:  # noqa: ASYNC110 a state of the database
            await asyncio.sleep(0.01)


async def test_of_equal_requests_at_once_one_has_an_effect(
    committing_client: httpx.AsyncClient, second_client: httpx.AsyncClient, committed_posts: Posts, anna: Caller
) -> None:
    clients = [committing_client, second_client] * (AT_ONCE // 2)
    for round_number in range(3):
        key = f"round-{round_number}"
        responses = await asyncio.gather(*(send(client, anna, key) for client in clients))
        created = [response for response in responses if response.status_code == 201]
        fresh = [response for response in created if "Idempotency-Replayed" not in response.headers]
        assert len(fresh) == 1
        assert {response.content for response in created} == {fresh[0].content}
        for response in responses:
            if response.status_code != 201:
                assert_problem(response, 409, "request-in-flight")
                assert response.headers["Retry-After"] == "1"
        later = await asyncio.gather(*(send(client, anna, key) for client in (committing_client, second_client)))
        assert [(each.status_code, each.content) for each in later] == [(201, fresh[0].content)] * 2
        assert await count(committed_posts) == round_number + 1


async def test_while_the_first_request_is_in_flight_another_gets_409_from_each_replica(
    committing_app: FastAPI,
    committing_client: httpx.AsyncClient,
    second_client: httpx.AsyncClient,
    committed_posts: Posts,
    anna: Caller,
    bert: Caller,
) -> None:
    async with locked_posts(committing_app):
        first = asyncio.create_task(send(committing_client, anna, "k"))
        await wait_for_waiting(committed_posts)
        for client in (committing_client, second_client):
            assert_problem(await send(client, anna, "k"), 409, "request-in-flight")
        # The key of another caller is another one.
        other = asyncio.create_task(send(second_client, bert, "k"))
        await wait_for_waiting(committed_posts, 2)
    assert [(await first).status_code, (await other).status_code] == [201, 201]
    again = await send(second_client, anna, "k")
    assert (again.content, again.headers["Idempotency-Replayed"]) == ((await first).content, "true")
    assert await count(committed_posts) == 2


async def test_a_stored_response_is_decrypted_when_its_transaction_has_ended(
    committing_app: FastAPI,
    committing_client: httpx.AsyncClient,
    committed_posts: Posts,
    anna: Caller,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = await send(committing_client, anna, "k")
    queues = committing_app.state.database.queues.values()
    connections = []
    opening = ResponseSeal.open

    def open_and_count(seal: ResponseSeal, sealed: str) -> Response:
        connections.append(sum(queue.in_use for queue in queues))
        return opening(seal, sealed)

    monkeypatch.setattr(ResponseSeal, "open", open_and_count)
    assert (await send(committing_client, anna, "k")).content == first.content
    assert connections == [0]


async def test_the_retry_of_a_request_that_timed_out_is_processed(
    committing_app: FastAPI, committing_client: httpx.AsyncClient, committed_posts: Posts, anna: Caller
) -> None:
    async with locked_posts(committing_app):
        assert (await send(committing_client, anna, "k")).status_code == 503
    again = await send(committing_client, anna, "k")
    assert (again.status_code, "Idempotency-Replayed" in again.headers) == (201, False)
    assert await count(committed_posts) == 1


async def test_the_retry_of_a_request_whose_client_left_is_processed(
    committing_app: FastAPI, committing_client: httpx.AsyncClient, committed_posts: Posts, anna: Caller
) -> None:
    async with locked_posts(committing_app):
        first = asyncio.create_task(send(committing_client, anna, "k"))
        await wait_for_waiting(committed_posts)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
    # The server ends the abandoned statement when it finds out.
    async with asyncio.timeout(5):
        while (again := await send(committing_client, anna, "k")).status_code == 409:  # noqa: ASYNC110 as above
            await asyncio.sleep(0.05)
    assert again.status_code == 201, again.text
    assert await count(committed_posts) == 1


_LATE = 4711


@contextmanager
def late_locks() -> Iterator[None]:
    """Statements that try the lock of a key first wait, as slow ones would, until another lock is free."""

    def change(_1: object, _2: object, statement: str, values: object, *_more: object) -> tuple[str, object]:
        lock = "pg_try_advisory_xact_lock(%(number)s)"
        late = f"(SELECT {lock} FROM (SELECT pg_advisory_xact_lock_shared({_LATE})) AS waited)"  # noqa: S608
        return statement.replace(lock, late), values

    event.listen(Engine, "before_cursor_execute", change, retval=True)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", change)


async def test_a_retry_whose_claim_begins_before_the_first_attempt_is_committed_gets_its_response(
    committing_app: FastAPI,
    committing_client: httpx.AsyncClient,
    second_client: httpx.AsyncClient,
    committed_posts: Posts,
    anna: Caller,
    bert: Caller,
) -> None:
    """Were the effect tried again, its refusal (a member already) would hide that the first attempt succeeded."""
    await committed_posts.add(by=bert)
    made = await committing_client.post("/conversations", json={"title": "Of bees"}, headers=anna.headers)
    path, headers = f"{made.headers['Location']}/members", anna.headers | {"Idempotency-Key": "k"}

    async def add(client: httpx.AsyncClient) -> httpx.Response:
        return await client.post(path, json={"user_id": 22, "role": "reader"}, headers=headers)

    async with AsyncExitStack() as delaying:
        await lock(delaying, committing_app, f"SELECT pg_advisory_xact_lock({_LATE})")
        async with AsyncExitStack() as blocking:
            await lock(blocking, committing_app, "LOCK TABLE conversation_members IN SHARE MODE")
            first = asyncio.create_task(add(committing_client))
            await wait_for_waiting(committed_posts, of="relation = 'conversation_members'::regclass")
            with late_locks():
                retry = asyncio.create_task(add(second_client))
                await wait_for_waiting(committed_posts, of="locktype = 'advisory'")
        assert (await first).status_code == 201
    assert ((await retry).status_code, (await retry).content) == (201, (await first).content)
    assert (await retry).headers["Idempotency-Replayed"] == "true"


async def lock(stack: AsyncExitStack, app: FastAPI, statement: str) -> None:
    """Until the stack's end."""
    connection = await stack.enter_async_context(app.state.database.writing())
    await connection.execute(text(statement))
