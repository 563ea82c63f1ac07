"""Streams and uploads whose tokens auth revokes: both end at once, and nothing of the upload is stored."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest
from content_support import Caller, assert_problem
from feed_stand_in import Mood
from following_support import Follow, Following
from kpi_content.live import uploads
from live_support import Conversation, create_conversation, failing_to_store, follow, send, wait_until
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


@pytest.mark.parametrize("least", [30.0, 0.0], ids=["longer", "as long"])
async def test_an_upload_may_last_longer_than_its_token_for_some_time(
    following: Following, conversation: Conversation, monkeypatch: pytest.MonkeyPatch, least: float
) -> None:
    """Where revocations are followed. In the end what came is kept, since its author was not revoked."""
    monkeypatch.setattr(uploads, "LEAST_SECONDS", least)
    caller = caller_of(following, following.token(seconds=1))
    sending = await send(conversation, by=caller)
    sending.write("begun")
    if least:
        await wait_until(lambda: datetime.now(UTC) > caller.subject.expires_at)
        assert (await sending.end()).status_code == 201
    else:
        response = await sending.response()
        assert_problem(response, 401, "unauthenticated")
        assert response.headers["Location"]
    assert await following.rows("SELECT content, is_interrupted FROM messages") == [("begun", not least)]


async def test_an_upload_ends_with_its_api_key(following: Following, conversation: Conversation) -> None:
    """Though it may outlive the key's token."""
    caller = caller_of(following, following.token(sid="key-5", seconds=1, key_seconds=2))
    sending = await send(conversation, by=caller)
    sending.write("begun")
    response = await sending.response()
    assert_problem(response, 401, "unauthenticated")
    assert caller.subject.api_key_ends_at is not None
    assert datetime.now(UTC) >= caller.subject.api_key_ends_at > caller.subject.expires_at
    assert await following.rows("SELECT content, is_interrupted FROM messages") == [("begun", True)]


async def test_an_upload_ends_when_its_api_key_is_narrowed(following: Following, conversation: Conversation) -> None:
    """And the next one begins."""
    caller = caller_of(following, following.token(sid="key-5"))
    sending = await send(conversation, by=caller)
    sending.write("begun")
    await wait_until(lambda: following.app.state.revocations.readers == 1)
    for feed in following.feeds:
        feed.publish("api_key.ended", account_id=11, api_key_id=5, reason="narrowed")
        feed.publish("api_key.activated", account_id=11, api_key_id=5)
    assert_problem(await sending.response(), 401, "unauthenticated")
    sending = await send(conversation, by=caller)
    sending.write("again")
    assert (await sending.end()).status_code == 201
    assert await following.rows("SELECT content, is_interrupted FROM messages") == [("again", False)]


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


async def test_an_upload_whose_author_is_revoked_before_it_is_stored_is_not(
    following: Following, conversation: Conversation
) -> None:
    """The first attempt fails, and the next one finds out."""
    sending = await send(conversation)
    sending.write("mine")
    async with failing_to_store(conversation.database, conversation.id, how="pg_cancel_backend"):
        responding = asyncio.create_task(sending.end())
        await wait_until(lambda: len(following.app.state.uploads) == 0)
        for feed in following.feeds:
            feed.publish("session.ended", account_id=11, session_id=1, reason="logout")
        await wait_until(lambda: following.app.state.revocations.is_revoked(conversation.owner.subject))
    assert_problem(await responding, 401, "unauthenticated")
    assert await following.rows("SELECT id FROM messages") == []


async def test_uploads_are_stopped_once_however_often_that_is_said(
    following: Following, conversation: Conversation, monkeypatch: pytest.MonkeyPatch
) -> None:
    stops = []
    stop = uploads.Upload.stop

    def stop_and_note(upload: uploads.Upload) -> None:
        stops.append(upload)
        stop(upload)

    monkeypatch.setattr(uploads.Upload, "stop", stop_and_note)
    sending = await send(conversation)
    sending.write("begun")
    await wait_until(lambda: len(following.app.state.uploads) == 1)
    for _ in range(3):
        following.app.state.uploads.stop()
    assert_problem(await sending.response(), 503, "upload-stopped")
    assert len(stops) == 1


async def test_an_upload_that_begins_while_the_process_stops_is_refused(
    following: Following, conversation: Conversation
) -> None:
    following.app.state.uploads.stop()
    sending = await send(conversation)
    sending.write("begun")
    assert_problem(await sending.response(), 503, "upload-stopped")
