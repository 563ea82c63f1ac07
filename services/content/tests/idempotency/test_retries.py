"""Retries of POST /posts with an Idempotency-Key, one after another."""

from datetime import timedelta

import httpx
import pytest
from content_support import Caller, Posts, assert_problem
from fastapi import FastAPI
from kpi_content.housekeeping import tidy
from kpi_shared.caller import Role, Scope
from kpi_shared.idempotency import repository
from kpi_shared.tokens import TokenCodec
from sqlalchemy.exc import OperationalError

POST = {"title": "Of bees", "content": "They dance."}


async def send(
    client: httpx.AsyncClient, by: Caller, key: str | None = "k-1", path: str = "/posts", **changes: object
) -> httpx.Response:
    headers = by.headers if key is None else by.headers | {"Idempotency-Key": key}
    return await client.post(path, json=POST | changes, headers=headers)


async def count(posts: Posts) -> int:
    return int((await posts.rows("SELECT count(*) FROM posts"))[0][0])


async def test_a_retry_gets_the_first_response_and_adds_nothing(
    client: httpx.AsyncClient, posts: Posts, anna: Caller
) -> None:
    first = await send(client, anna)
    assert first.status_code == 201, first.text
    assert "Idempotency-Replayed" not in first.headers
    # What happens to the post meanwhile changes nothing.
    await client.patch(first.headers["Location"], json={"title": "New"}, headers=anna.headers)
    for key in ("k-1", '"k-1"'):
        again = await send(client, anna, key)
        assert (again.status_code, again.content) == (201, first.content)
        assert again.headers["Idempotency-Replayed"] == "true"
        for name in ("Location", "ETag", "Content-Type", "Content-Length"):
            assert again.headers[name] == first.headers[name]
    assert await count(posts) == 1


async def test_another_key_another_caller_and_no_key_are_other_requests(
    client: httpx.AsyncClient, posts: Posts, anna: Caller, bert: Caller
) -> None:
    for by, key in ((anna, "k-1"), (anna, "k-2"), (bert, "k-1"), (anna, None), (anna, None)):
        response = await send(client, by, key)
        assert (response.status_code, "Idempotency-Replayed" in response.headers) == (201, False)
    assert await count(posts) == 5
    assert await posts.rows("SELECT count(*) FROM idempotency_keys") == [(3,)]


async def test_a_slash_at_the_end_is_the_same_request_and_a_query_is_not(
    client: httpx.AsyncClient, posts: Posts, anna: Caller
) -> None:
    await send(client, anna)
    assert (await send(client, anna, path="/posts/")).headers["Idempotency-Replayed"] == "true"
    assert_problem(await send(client, anna, path="/posts?x=1"), 422, "idempotency-key-reused")


async def test_a_key_with_another_body_is_refused(client: httpx.AsyncClient, posts: Posts, anna: Caller) -> None:
    await send(client, anna)
    assert_problem(await send(client, anna, title="Of wasps"), 422, "idempotency-key-reused")
    assert (await send(client, anna)).headers["Idempotency-Replayed"] == "true"
    assert await count(posts) == 1


@pytest.mark.parametrize("key", ["", "two words", "x" * 256, '"x', "\u00e9".encode().decode("latin-1")])
async def test_a_malformed_key_is_refused_and_nothing_is_created(
    client: httpx.AsyncClient, posts: Posts, anna: Caller, key: str
) -> None:
    headers = [*anna.headers.items(), ("Idempotency-Key", key.encode("latin-1"))]
    response = await client.post("/posts", json=POST, headers=headers)  # type: ignore[arg-type]
    assert_problem(response, 400, "malformed-idempotency-key")
    two = [*anna.headers.items(), ("Idempotency-Key", "x"), ("Idempotency-Key", "x")]
    assert_problem(await client.post("/posts", json=POST, headers=two), 400, "malformed-idempotency-key")
    assert await count(posts) == 0


async def test_a_refused_request_stores_nothing_and_its_retry_is_processed(
    client: httpx.AsyncClient, posts: Posts, anna: Caller
) -> None:
    assert_problem(await send(client, anna, title=""), 422, "invalid-request")
    assert_problem(await client.post("/posts", json=POST, headers={"Idempotency-Key": "k-1"}), 401, "unauthenticated")
    assert (await send(client, anna)).status_code == 201
    assert await count(posts) == 1


async def test_a_failure_after_the_effect_undoes_it_and_the_retry_is_processed(
    client: httpx.AsyncClient, posts: Posts, anna: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise OperationalError("", {}, Exception())

    with monkeypatch.context() as patched:
        patched.setattr(repository, "store", fail)
        assert (await send(client, anna)).status_code >= 500
    assert await count(posts) == 0
    again = await send(client, anna)
    assert (again.status_code, "Idempotency-Replayed" in again.headers) == (201, False)
    assert await count(posts) == 1


async def test_a_replay_needs_the_right_to_write(
    client: httpx.AsyncClient, posts: Posts, anna: Caller, tokens: TokenCodec
) -> None:
    """Keys of a person are the same in the next session; an API key has its own."""
    assert (await send(client, anna)).status_code == 201
    minutes = timedelta(minutes=5)

    def with_token(session_id: str, *scopes: Scope) -> Caller:
        token = tokens.mint(
            user_id=11,
            username="anna",
            role=Role.USER,
            session_id=session_id,
            lifetime=minutes,
            scopes=scopes or None,
        )
        return Caller(anna.subject, {"Authorization": f"Bearer {token}"})

    assert (await send(client, with_token("2"))).headers["Idempotency-Replayed"] == "true"
    assert_problem(await send(client, with_token("key-5", Scope.READ)), 403, "insufficient-scope")
    assert "Idempotency-Replayed" not in (await send(client, with_token("key-5", Scope.WRITE))).headers
    assert await count(posts) == 2


async def test_other_methods_and_posts_that_create_nothing_ignore_the_header(
    client: httpx.AsyncClient, posts: Posts, anna: Caller
) -> None:
    post = await posts.add()
    headers = anna.headers | {"Idempotency-Key": "not valid"}
    address = f"/posts/{post['id']}"
    vote = {"post_id": post["id"], "direction": 1}
    for response in (
        await client.get(address, headers=headers),
        await client.post("/votes", json=vote, headers=headers),
        await client.put(address, json=POST, headers=headers),
        await client.patch(address, json={"title": "New"}, headers=headers),
        await client.delete(address, headers=headers),
    ):
        assert response.is_success, response.text
    assert await posts.rows("SELECT count(*) FROM idempotency_keys") == [(0,)]


async def test_after_24_hours_a_key_is_new_and_its_row_is_deleted(
    client: httpx.AsyncClient, app: FastAPI, posts: Posts, anna: Caller
) -> None:
    for key in ("old", "older", "new"):
        await send(client, anna, key)
    assert await posts.rows("SELECT count(*) FROM idempotency_keys") == [(3,)]
    await posts.execute("UPDATE idempotency_keys SET created_at = now() - interval '23 hours 59 minutes'")
    assert (await send(client, anna, "old")).headers["Idempotency-Replayed"] == "true"
    await posts.execute("UPDATE idempotency_keys SET created_at = now() - interval '24 hours 1 second'")
    again = await send(client, anna, "new")
    assert (again.status_code, "Idempotency-Replayed" in again.headers) == (201, False)
    assert (await send(client, anna, "new")).content == again.content
    assert (await tidy(app.state.database, app.state.settings, most=1))["idempotency_keys"] == 2
    assert await posts.rows("SELECT count(*) FROM idempotency_keys") == [(1,)]


async def test_the_text_of_a_post_is_not_readable_in_the_table(
    client: httpx.AsyncClient, posts: Posts, anna: Caller
) -> None:
    await send(client, anna, "k-secret")
    [(row,)] = await posts.rows("SELECT to_jsonb(idempotency_keys)::text FROM idempotency_keys")
    assert "bees" not in row
    assert "k-secret" not in row


async def test_conversations_messages_and_members_are_created_once(
    client: httpx.AsyncClient, posts: Posts, anna: Caller, bert: Caller
) -> None:
    async def send_twice(path: str, body: dict[str, object]) -> httpx.Response:
        headers = anna.headers | {"Idempotency-Key": path}
        first, again = [await client.post(path, json=body, headers=headers) for _ in range(2)]
        assert first.status_code == 201, first.text
        assert (again.content, again.headers["Idempotency-Replayed"]) == (first.content, "true")
        assert again.headers["Location"] == first.headers["Location"]
        return first

    address = (await send_twice("/conversations", {"title": "Of bees"})).headers["Location"]
    for number in (1, 2):
        made = await send_twice(f"{address}/messages?x={number}", {"role": "user", "content": "They dance."})
        assert made.json()["number"] == number
    await posts.add(by=bert)
    member = await send_twice(f"{address}/members", {"user_id": 22, "role": "owner"})
    assert member.json()["user"]["username"] == "bert"
    counted = "SELECT (SELECT count(*) FROM conversations), (SELECT count(*) FROM messages), count(*)"
    assert await posts.rows(f"{counted} FROM conversation_members") == [(1, 2, 2)]
    # Only an owner gets that response.
    await client.patch(f"{address}/members/11", json={"role": "writer"}, headers=bert.headers)
    headers = anna.headers | {"Idempotency-Key": f"{address}/members"}
    refused = await client.post(f"{address}/members", json={"user_id": 22, "role": "owner"}, headers=headers)
    assert refused.status_code == 403, refused.text


async def test_a_removed_member_gets_no_stored_message(
    client: httpx.AsyncClient, posts: Posts, anna: Caller, bert: Caller
) -> None:
    await posts.add(by=bert)
    made = await client.post("/conversations", json={"title": "Of bees"}, headers=anna.headers)
    add = "INSERT INTO conversation_members (conversation_id, user_id, role) VALUES (:id, 22, 'writer')"
    await posts.execute(add, id=made.json()["id"])
    path, headers = f"{made.headers['Location']}/messages", bert.headers | {"Idempotency-Key": "k"}

    async def send_message(content: str = "They dance.") -> httpx.Response:
        return await client.post(path, json={"role": "user", "content": content}, headers=headers)

    assert (await send_message()).status_code == 201
    assert (await send_message()).headers["Idempotency-Replayed"] == "true"
    await posts.execute("UPDATE conversation_members SET role = 'reader' WHERE user_id = 22")
    # A member who may not write does not hear either that the key has been used for another message.
    assert [(await send_message(content)).status_code for content in ("They dance.", "Other")] == [403, 403]
    await posts.execute("DELETE FROM conversation_members WHERE user_id = 22")
    assert [(await send_message(content)).status_code for content in ("They dance.", "Other")] == [404, 404]


async def test_a_response_that_is_stored_is_never_replaced(
    client: httpx.AsyncClient, posts: Posts, anna: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def see_nothing(*_: object, **__: object) -> None:
        return None

    first = await send(client, anna)
    with monkeypatch.context() as patched:
        patched.setattr(repository, "find", see_nothing)
        assert_problem(await send(client, anna), 409, "request-in-flight")
    assert (await send(client, anna)).content == first.content
    assert await count(posts) == 1
