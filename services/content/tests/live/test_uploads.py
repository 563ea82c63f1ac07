"""Messages that come in deltas: seen on the other replica at once, and stored once, however they end."""

import asyncio
from typing import Any

import httpx
import pytest
from content_support import Caller, assert_problem
from kpi_shared.database import Database
from live_support import Conversation, Reading, failing_to_store, follow, send, wait_until

# A combining acute accent.
MARK = "\u0301"


async def stored(conversation: Conversation, response: httpx.Response) -> dict[str, Any]:
    """The message that a response names."""
    row = await conversation.client.get(
        conversation.addresses[1] + response.headers["Location"], headers=conversation.owner.headers
    )
    assert row.status_code == 200, row.text
    shown: dict[str, Any] = row.json()
    return shown


def text_of(reading: Reading) -> str:
    """What the parts of a draft make together; each says at which character it begins."""
    text = ""
    for delta in reading.of("message.delta"):
        assert delta["position"] == len(text)
        text += delta["text"]
    return text


@pytest.mark.parametrize("query", ["/messages?stream=true", "/messages/?stream=true&role=system"])
async def test_lines_of_deltas_are_seen_as_they_come(conversation: Conversation, query: str) -> None:
    async with follow(conversation.events(at=1), conversation.owner.headers) as reading:
        sending = await send(conversation, query=query.removeprefix("/messages"))
        sending.write("Bees ")
        await wait_until(lambda: text_of(reading) == "Bees ")
        sending.write("é", "🐝")
        await wait_until(lambda: text_of(reading) == "Bees é🐝")
        response = await sending.end()
        assert response.status_code == 201, response.text
        await wait_until(lambda: bool(reading.of("message.created")))
    role = "system" if "role" in query else "assistant"
    first, created = reading.of("message.delta")[0], reading.of("message.created")[0]
    assert (created["content"], created["role"], created["interrupted"]) == ("Bees é🐝", role, False)
    assert {key: created[key] for key in response.json()} == response.json()
    assert (first["draft"], first["role"]) == (created["draft"], role)
    assert first["author"] == created["author"]
    assert [event.type for event in reading.events[-1:]] == ["message.created"]
    assert all(event.id is None for event in reading.events if event.type == "message.delta")


async def test_events_of_deltas_end_where_they_say(conversation: Conversation) -> None:
    """The body itself does not end."""
    async with follow(conversation.events(at=1), conversation.owner.headers) as reading:
        sending = await send(conversation, kind="text/event-stream; charset=utf-8")
        sending.write(b'data: {"role":"user","metadata":{"a":[1]},"delta":"Bees"}\n\n', b"data:  dance\n\n")
        await wait_until(lambda: text_of(reading) == "Bees dance")
        sending.write(b"data: [DONE]\n\n")
        response = await sending.response()
    assert response.status_code == 201, response.text
    shown = response.json()
    assert (shown["content"], shown["role"], shown["metadata"]) == ("Bees dance", "user", {"a": [1]})
    assert not shown["interrupted"]


async def test_many_deltas_are_longer_than_other_bodies_may_be(conversation: Conversation) -> None:
    """A hundred thousand characters, each in a line of its own, and sent to the readers in large parts."""
    async with follow(conversation.events(at=1), conversation.owner.headers) as reading:
        sending = await send(conversation)
        for _ in range(100):
            sending.write(b'{"delta": "\\u00e9"}\n' * 1000)
        response = await sending.end()
        assert response.status_code == 201, response.text
        assert response.json()["content"] == "é" * 100_000
        await wait_until(lambda: bool(reading.of("message.created")))


async def test_a_large_delta_comes_in_parts(conversation: Conversation) -> None:
    """A notification has less than 8,000 bytes: a character may take six of them."""
    async with follow(conversation.events(at=1), conversation.owner.headers) as reading:
        sending = await send(conversation)
        sending.write("\x01🐝" * 5_000)
        await wait_until(lambda: text_of(reading) == "\x01🐝" * 5_000)
        assert (await sending.end()).status_code == 201


@pytest.mark.parametrize(
    ("bad", "status", "slug"),
    [
        (b"not JSON\n", 422, "malformed-upload"),
        (b'{"role": "user", "delta": "x"}\n', 422, "malformed-upload"),
        (b'{"delta": "' + b"x" * 100_001 + b'"}\n', 413, "message-too-long"),
    ],
)
async def test_what_came_before_a_fault_is_kept(conversation: Conversation, bad: bytes, status: int, slug: str) -> None:
    sending = await send(conversation)
    sending.write("before ", bad)
    response = await sending.response()
    assert_problem(response, status, slug)
    shown = await stored(conversation, response)
    assert shown["interrupted"]
    assert shown["content"] == "before " + "x" * (99_993 if status == 413 else 0)


@pytest.mark.parametrize("parts", [["a" + MARK * 31], [MARK * 30, MARK], [MARK, *["", MARK] * 30]])
async def test_a_long_run_of_marks_is_refused_however_it_comes(conversation: Conversation, parts: list[str]) -> None:
    sending = await send(conversation)
    sending.write("before", MARK * 30, "\nbefore", *parts)
    response = await sending.response()
    assert_problem(response, 422, "malformed-upload")
    shown = await stored(conversation, response)
    assert shown["interrupted"]
    assert shown["content"] == "before" + MARK * 30 + "\nbefore" + "".join(parts[:-1])


async def test_an_upload_of_which_nothing_comes_is_interrupted(conversation: Conversation) -> None:
    sending = await send(conversation)
    sending.write("before")
    response = await sending.response()
    assert_problem(response, 408, "upload-silent")
    assert (await stored(conversation, response))["content"] == "before"


async def test_an_upload_whose_client_leaves_is_interrupted(conversation: Conversation) -> None:
    async with follow(conversation.events(at=1), conversation.owner.headers) as reading:
        sending = await send(conversation)
        sending.write("before")
        await wait_until(lambda: text_of(reading) == "before")
        sending.leave()
        await wait_until(lambda: bool(reading.of("message.created")))
    created = reading.of("message.created")[0]
    assert (created["content"], created["interrupted"]) == ("before", True)
    assert created["draft"] == reading.of("message.delta")[0]["draft"]


@pytest.mark.parametrize("body", [b"", b'{"delta": ""}\n', b"not JSON\n"])
async def test_an_upload_without_text_is_no_message(conversation: Conversation, body: bytes) -> None:
    async with follow(conversation.events(at=1), conversation.owner.headers) as reading:
        sending = await send(conversation)
        sending.write(body)
        response = await sending.end()
        assert_problem(response, 422, "malformed-upload" if body == b"not JSON\n" else "empty-message")
        assert [error["pointer"] for error in response.json()["errors"]] == ["#/body"]
        assert "Location" not in response.headers
        await wait_until(lambda: bool(reading.of("draft.ended")))
        await conversation.write("the next")
        await wait_until(lambda: reading.numbers == [1])


async def test_rights_are_checked_before_the_body_is_read(conversation: Conversation, bert: Caller) -> None:
    async with asyncio.timeout(20):
        assert_problem(await (await send(conversation, by=bert)).response(), 404, "conversation-not-found")
        await conversation.share(bert, role="reader")
        assert_problem(await (await send(conversation, by=bert)).response(), 403, "read-only-member")


@pytest.mark.parametrize(("role", "slug"), [(None, "conversation-not-found"), ("reader", "read-only-member")])
async def test_a_writer_who_may_not_write_any_more_stores_nothing(
    conversation: Conversation, bert: Caller, role: str | None, slug: str
) -> None:
    await conversation.share(bert)
    async with follow(conversation.events(at=1), conversation.owner.headers) as reading:
        sending = await send(conversation, by=bert)
        sending.write("mine")
        await wait_until(lambda: text_of(reading) == "mine")
        await (conversation.change_role(bert, role) if role else conversation.remove(bert))
        # Without an end of the body: the next part of the draft is refused, and is shown to no reader.
        sending.write("later")
        assert_problem(await sending.response(), 403 if role else 404, slug)
        await wait_until(lambda: bool(reading.of("draft.ended")))
    assert text_of(reading) == "mine"
    assert reading.of("message.created") == []


@pytest.mark.parametrize(
    ("query", "kind", "status"),
    [
        ("?stream=true", "application/json", 415),
        ("", "application/x-ndjson", 415),
        ("?stream=true&role=admin", "application/x-ndjson", 422),
        ("?stream=True", "application/x-ndjson", 422),
        ("?stream=1&role=user", "text/event-stream", 422),
        ("?stream=yes", "application/json", 415),
        ("?stream=false", "application/x-ndjson", 415),
    ],
)
async def test_an_upload_is_asked_for_by_its_query_and_its_type(
    conversation: Conversation, query: str, kind: str, status: int
) -> None:
    sending = await send(conversation, query=query, kind=kind)
    sending.write("text")
    response = await sending.end()
    assert response.status_code == status
    if status == 422:
        name = "role" if "role=admin" in query else "stream"
        assert [error["pointer"] for error in response.json()["errors"]] == [f"#/query/{name}"]


@pytest.mark.parametrize("how", ["pg_cancel_backend", "pg_terminate_backend"])
@pytest.mark.parametrize("key", ["", "of-bees"])
async def test_an_upload_is_stored_when_the_database_is_available_again(
    conversation: Conversation, live_database: Database, how: str, key: str
) -> None:
    owner = conversation.owner
    headers = {**owner.headers, "Idempotency-Key": f"{key}-{conversation.id}"} if key else owner.headers
    sending = await send(conversation, by=Caller(owner.subject, headers))
    sending.write("kept")
    async with failing_to_store(live_database, conversation.id, how=how):
        responding = asyncio.create_task(sending.end())
    response = await responding
    assert response.status_code == 201, response.text
    shown = await conversation.client.get(
        f"{conversation.addresses[0]}{conversation.path}/messages", headers=owner.headers
    )
    assert [(message["content"], message["interrupted"]) for message in shown.json()["items"]] == [("kept", False)]
