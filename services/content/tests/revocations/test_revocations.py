"""What auth's feed says is refused here, through the whole service."""

import json

import pytest
from content_support import assert_problem
from feed_stand_in import Mood, StandIn, eventually
from following_support import Follow, Following
from kpi_shared.tokens import split


async def is_refused(service: Following, headers: dict[str, str]) -> bool:
    return await service.read(headers) == 401


async def is_accepted(service: Following, headers: dict[str, str]) -> bool:
    return await service.read(headers) == 200


async def test_what_ended_before_the_start_is_refused(follow: Follow, feeds: tuple[StandIn, StandIn]) -> None:
    for feed in feeds:
        feed.seq = 812
        feed.revocations = [
            {"kind": "session", "id": "12", "seconds": 431.2},
            {"kind": "session", "id": "key-5", "seconds": 60},
            {"kind": "account", "id": 7, "version": 4, "seconds": 90.0},
            {"kind": "of-a-later-version", "id": "x", "seconds": None},
        ]
    async with follow() as service:
        await eventually(lambda: service.followed)
        for refused in (
            service.token(sid="12"),
            service.token(sid="key-5"),
            service.token(user=7, version=3),
            service.token(user=7, version=None),
        ):
            response = await service.client.get("/posts", headers=refused)
            assert_problem(response, 401, "unauthenticated")
            assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]
        for valid in (service.token(sid="13"), service.token(sid="key-12"), service.token(user=7, version=4)):
            assert await service.read(valid) == 200
            assert await service.write(valid) == 201


async def test_events_end_sessions_keys_and_older_tokens_of_accounts(follow: Follow) -> None:
    async with follow() as service:
        await eventually(lambda: service.followed)
        feed = service.feeds[0]
        mine, other = service.token(sid="12"), service.token(sid="13")
        assert await service.read(mine) == 200
        feed.publish("session.ended", account_id=11, session_id=12, reason="logout")
        await eventually(lambda: is_refused(service, mine))
        assert await service.read(other) == 200
        feed.publish("sessions.ended", account_id=11, session_ids=[13, 14], reason="password")
        await eventually(lambda: is_refused(service, other))
        assert await service.read(service.token(sid="14")) == 401

        key = service.token(sid="key-5")
        assert await service.read(key) == 200
        feed.publish("api_key.ended", account_id=11, api_key_id=5, reason="deleted")
        await eventually(lambda: is_refused(service, key))
        assert await service.read(service.token(sid="5")) == 200
        feed.publish("api_key.activated", account_id=11, api_key_id=5)
        await eventually(lambda: is_accepted(service, key))

        old, new = service.token(user=21, version=1), service.token(user=21, version=2)
        feed.change(21, "account.created")
        feed.change(22, "account.created")
        feed.change(22, "account.changed")
        feed.publish("of.a.later.version", anything=1)
        feed.change(21, "account.role_changed", role="user")
        await eventually(lambda: is_refused(service, old))
        assert await service.read(new) == 200
        assert await service.read(service.token(user=22, version=1)) == 200


async def test_tokens_of_a_killed_key_are_refused(follow: Follow) -> None:
    async with follow() as service:
        await eventually(lambda: service.followed)
        headers = service.token()
        assert await service.read(headers) == 200
        kid = json.loads(split(headers["Authorization"].removeprefix("Bearer "))[1])["kid"]
        service.feeds[0].publish("key.killed", kid=kid)
        await eventually(lambda: is_refused(service, headers))
        assert await service.read(service.token(sid="13")) == 401


async def test_a_key_that_was_killed_before_the_start_is_refused(
    follow: Follow, feeds: tuple[StandIn, StandIn]
) -> None:
    async with follow() as service:
        headers = service.token()
        kid = json.loads(split(headers["Authorization"].removeprefix("Bearer "))[1])["kid"]
    for feed in feeds:
        feed.revocations = [{"kind": "kid", "id": kid, "seconds": None}]
    async with follow() as service:
        await eventually(lambda: service.followed)
        assert await service.read(headers) == 401


async def test_nothing_is_missed_between_two_streams(follow: Follow) -> None:
    """What is revoked while there is no stream is in the next snapshot, and what comes after it in the stream."""
    async with follow() as service:
        await eventually(lambda: service.followed)
        first, second = service.feeds
        headers, key = service.token(sid="12"), service.token(sid="key-5")
        assert await service.read(headers) == 200
        first.publish("api_key.ended", account_id=11, api_key_id=5, reason="deactivated")
        await eventually(lambda: is_refused(service, key))
        # The key was switched on again while there was no stream.
        second.seq = 5
        second.revocations = [{"kind": "session", "id": "12", "seconds": 60}]
        first.cut()
        await eventually(lambda: is_refused(service, headers))
        assert await service.read(key) == 200
        second.publish("session.ended", account_id=11, session_id=13, reason="logout")
        await eventually(lambda: is_refused(service, service.token(sid="13")))


@pytest.mark.parametrize(
    "mood",
    [Mood.SILENT, Mood.GARBAGE, Mood.DRIPPING, Mood.ENDLESS_LINE, Mood.ENDING, Mood.BEHIND, Mood.UNREADABLE],
)
async def test_a_feed_that_behaves_badly_is_left_for_the_next_address(follow: Follow, mood: Mood) -> None:
    async with follow() as service:
        await eventually(lambda: service.followed)
        first, second = service.feeds
        assert second.asked == []
        first.mood = mood
        second.publish("session.ended", account_id=11, session_id=12, reason="logout")
        second.seq -= 1
        await eventually(lambda: "/internal/feed/events" in second.asked)
        await eventually(lambda: is_refused(service, service.token(sid="12")))
        assert await service.write(service.token(sid="13")) == 201


@pytest.mark.parametrize("status", [401, 404, 410, 500, 302])
async def test_a_status_of_failure_is_a_failure(follow: Follow, feeds: tuple[StandIn, StandIn], status: int) -> None:
    feeds[0].status = status
    async with follow() as service:
        await eventually(lambda: service.followed)
        assert feeds[1].asked[:2] == ["/internal/feed/revocations", "/internal/feed/events"]


async def test_lines_in_pieces_are_read(follow: Follow, feeds: tuple[StandIn, StandIn]) -> None:
    for feed in feeds:
        feed.mood = Mood.HALF_LINES
    async with follow() as service:
        await eventually(lambda: service.followed)
        for feed in feeds:
            feed.publish("session.ended", account_id=11, session_id=12, reason="logout")
        await eventually(lambda: is_refused(service, service.token(sid="12")))


async def test_the_service_is_not_ready_before_the_first_snapshot(
    follow: Follow, feeds: tuple[StandIn, StandIn]
) -> None:
    for feed in feeds:
        feed.status = 500
    async with follow() as service:
        await eventually(lambda: len(feeds[1].asked) > 1)
        response = await service.client.get("/health/ready")
        assert_problem(response, 503, "unavailable")
        assert "feed: auth's feed has not responded yet" in response.json()["detail"]
        # Without a snapshot nothing is known, and it may be that nothing was revoked.
        assert await service.read(service.token()) == 200
        assert await service.write(service.token()) == 503
        for feed in feeds:
            feed.status = 200
        await eventually(lambda: service.followed)
        assert (await service.client.get("/health/ready")).json()["checks"]["feed"] == "ok"
        assert await service.write(service.token()) == 201


async def test_a_silent_feed_refuses_writes_and_no_reads(follow: Follow) -> None:
    async with follow(revocation_silence_limit=1.0) as service:
        await eventually(lambda: service.followed)
        headers = service.token()
        assert await service.write(headers) == 201
        for feed in service.feeds:
            feed.status = 500
            feed.cut()
        await eventually(lambda: service.age > 1.0)
        refused = await service.client.post("/votes", json={"post_id": 1, "direction": 1}, headers=headers)
        assert_problem(refused, 503, "revocations-unknown")
        assert refused.headers["Retry-After"] == "1"
        assert await service.read(headers) == 200
        # An invalid token is an invalid token.
        assert await service.write({"Authorization": "Bearer x"}) == 401
        ready = await service.client.get("/health/ready")
        assert ready.status_code == 200
        assert ready.json()["checks"]["feed"].startswith("silent for ")
        assert ready.json()["checks"]["feed"].endswith(" s: writes are refused")
        assert "kpi_revocation_feed_age_seconds" in {each.name for each in service.app.state.metrics.registry.collect()}
        for feed in service.feeds:
            feed.status = 200
        await eventually(lambda: service.followed)
        assert await service.write(headers) == 201


async def test_a_feed_that_is_behind_is_as_old_as_it_says(follow: Follow, feeds: tuple[StandIn, StandIn]) -> None:
    for feed in feeds:
        feed.behind = 12.0
    async with follow() as service:
        await eventually(lambda: service.age < 60)
        assert service.age >= 12
        assert await service.write(service.token()) == 503


async def test_without_the_settings_of_the_feed_tokens_are_valid_until_they_expire(
    follow: Follow,
) -> None:
    async with follow(auth_internal_url=None, feed_key=None) as service:
        assert service.app.state.revocations is None
        assert await service.write(service.token()) == 201
        assert "feed" not in (await service.client.get("/health/ready")).json()["checks"]
