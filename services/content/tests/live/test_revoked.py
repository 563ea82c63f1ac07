"""Streams and uploads whose tokens auth revokes: both end at once, and nothing of the upload is stored."""

from collections.abc import AsyncIterator

import httpx
import pytest
from content_support import Caller, assert_problem
from feed_stand_in import Mood
from following_support import Follow, Following
from live_support import Conversation, create_conversation, follow, send, wait_until
from server_support import serve


@pytest.fixture
async def following(follow: Follow) -> AsyncIterator[Following]:
    async with follow(revocation_silence_limit=1.0) as following:
        await wait_until(lambda: following.followed)
        yield following


def caller_of(following: Following, headers: dict[str, str]) -> Caller:
    return Caller(following.tokens.verify(headers["Authorization"].removeprefix("Bearer ")), headers)


@pytest.fixture
async def conversation(following: Following) -> AsyncIterator[Conversation]:
    """At a real server in this process."""
    owner = caller_of(following, following.token())
    async with serve(following.app, request_timeout=20) as port, httpx.AsyncClient(timeout=30) as client:
        address = f"http://127.0.0.1:{port}"
        yield await create_conversation((address, address), following.app.state.database, client, owner)


async def test_a_stream_and_an_upload_end_when_their_session_does(
    following: Following, conversation: Conversation
) -> None:
    other = following.token(sid="2")
    async with (
        follow(conversation.events(), conversation.owner.headers) as revoked,
        follow(conversation.events(), other) as reading,
    ):
        sending = await send(conversation)
        sending.write("mine")
        await wait_until(lambda: bool(reading.of("message.delta")))
        for feed in following.feeds:
            feed.publish("session.ended", account_id=11, session_id=1, reason="logout")
        response = await sending.response()
        await wait_until(lambda: revoked.is_over and bool(reading.of("draft.ended")))
        assert not reading.is_over
    assert response.status_code == 401
    assert "Location" not in response.headers
    assert await following.rows("SELECT id FROM messages") == []


async def test_an_upload_whose_token_expires_keeps_what_came(following: Following, conversation: Conversation) -> None:
    short = following.token(seconds=1.5)
    sending = await send(conversation, by=caller_of(following, short))
    sending.write("begun")
    response = await sending.response()
    assert response.status_code == 401
    assert response.headers["Location"]
    assert await following.rows("SELECT content, is_interrupted FROM messages") == [("begun", True)]


async def test_an_upload_that_ends_while_the_feed_is_silent_is_refused(
    following: Following, conversation: Conversation
) -> None:
    """What was revoked meanwhile is not known, and so no write is accepted."""
    sending = await send(conversation)
    sending.write("begun")
    for feed in following.feeds:
        feed.mood = Mood.SILENT
    await wait_until(lambda: following.age > 1)
    assert_problem(await sending.end(), 503, "revocations-unknown")
    assert await following.rows("SELECT id FROM messages") == []
