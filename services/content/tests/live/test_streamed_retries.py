"""Streamed messages with an Idempotency-Key, which are sent again."""

import pytest
from content_support import Caller
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
