"""Streamed messages with an Idempotency-Key, which are sent again."""

import pytest
from content_support import Caller, assert_problem
from live_support import Conversation, follow, send, wait_until


@pytest.fixture
def keyed(conversation: Conversation) -> Caller:
    owner = conversation.owner
    return Caller(owner.subject, {**owner.headers, "Idempotency-Key": f"of-{conversation.id}"})


async def test_a_message_that_is_stored_is_not_read_again(conversation: Conversation, keyed: Caller) -> None:
    sending = await send(conversation, by=keyed)
    sending.write("Bees ", "dance.")
    first = await sending.end()
    assert (first.status_code, first.json()["content"]) == (201, "Bees dance.")
    assert "Idempotency-Replayed" not in first.headers
    # On the other replica, before any of the body.
    again = await (await send(conversation, by=keyed, at=1)).response()
    assert (again.status_code, again.content) == (201, first.content)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["Location"] == first.headers["Location"]
    other = await (await send(conversation, by=keyed, query="?stream=true&role=user")).response()
    assert (other.status_code, other.json()["type"]) == (422, "idempotency-key-reused")


async def test_the_retry_of_an_interrupted_message_is_another_one(conversation: Conversation, keyed: Caller) -> None:
    async with follow(conversation.events(at=1), conversation.owner.headers) as reading:
        sending = await send(conversation, by=keyed)
        sending.write("Bees ")
        await wait_until(lambda: bool(reading.of("message.delta")))
        sending.leave()
        await wait_until(lambda: bool(reading.of("message.created")))
        for is_replayed in (False, True):
            sending = await send(conversation, by=keyed)
            sending.write("Bees ", "dance.")
            response = await sending.end()
            assert (response.status_code, "Idempotency-Replayed" in response.headers) == (201, is_replayed)
            assert (response.json()["number"], response.json()["content"]) == (2, "Bees dance.")
        await conversation.write("the last")
        await wait_until(lambda: len(reading.of("message.created")) == 3)
    created = reading.of("message.created")
    assert [message["interrupted"] for message in created] == [True, False, False]


async def test_a_second_upload_is_refused_while_the_first_one_comes(conversation: Conversation, keyed: Caller) -> None:
    async with follow(conversation.events(at=1), conversation.owner.headers) as reading:
        first = await send(conversation, by=keyed)
        first.write("full ")
        await wait_until(lambda: bool(reading.of("message.delta")))
        for at in (0, 1):
            second = await send(conversation, by=keyed, at=at)
            second.write("half")
            refused = await second.response()
            assert_problem(refused, 409, "request-in-flight")
            assert refused.headers["Retry-After"] == "1"
        first.write("answer")
        response = await first.end()
    assert (response.status_code, response.json()["content"]) == (201, "full answer")
    assert "Idempotency-Replayed" not in response.headers
    again = await (await send(conversation, by=keyed, at=1)).response()
    assert (again.status_code, again.content) == (201, response.content)


@pytest.mark.parametrize(("text", "is_same"), [("half", True), ("full answer", False)])
async def test_what_came_is_kept_where_its_key_has_got_another_message_meanwhile(
    conversation: Conversation, keyed: Caller, text: str, is_same: bool
) -> None:
    """As if two replicas had begun at the same moment: the row of the first one's end comes during the second."""
    first = await send(conversation, by=keyed)
    first.write("half")
    stored = await first.end()
    await conversation.execute("CREATE TABLE kept AS SELECT * FROM idempotency_keys")
    try:
        await conversation.execute("DELETE FROM idempotency_keys")
        async with follow(conversation.events(at=1), conversation.owner.headers) as reading:
            second = await send(conversation, by=keyed)
            second.write(text)
            await wait_until(lambda: bool(reading.of("message.delta")))
            await conversation.execute("INSERT INTO idempotency_keys SELECT * FROM kept")
            response = await second.end()
            await wait_until(lambda: bool(reading.of("draft.ended" if is_same else "message.created")))
    finally:
        await conversation.execute("DROP TABLE kept")
    if is_same:
        assert (response.status_code, response.content) == (201, stored.content)
        assert response.headers["Idempotency-Replayed"] == "true"
        return
    assert_problem(response, 422, "idempotency-key-reused")
    [kept] = reading.of("message.created")
    assert (kept["content"], kept["interrupted"]) == (text, True)
    assert response.headers["Location"] == f"{conversation.path}/messages/{kept['id']}"
