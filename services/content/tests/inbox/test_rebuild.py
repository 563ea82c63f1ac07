"""The authors are built anew from auth's accounts, equal row by row, while the service runs and if interrupted."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from feed_stand_in import KEY, StandIn, eventually
from following_support import Follow, Following
from kpi_content.inbox import service as inbox_service
from kpi_content.settings import ContentSettings
from kpi_shared.feed.client import FeedClient
from kpi_shared.feed.errors import FeedError
from kpi_shared.testing.process import run_command

ALL = "SELECT id, username, version, is_deleted FROM authors ORDER BY id"


def environment(settings: ContentSettings, feed: StandIn) -> dict[str, str]:
    return {
        "DATABASE_URL": settings.database_url.get_secret_value().replace("+psycopg", ""),
        "PASETO_SECRET_KEY": settings.paseto_secret_key.get_secret_value() if settings.paseto_secret_key else "",
        "AUTH_INTERNAL_URL": feed.address,
        "FEED_KEY": KEY,
    }


async def run(settings: ContentSettings, feed: StandIn, command: str) -> dict[str, Any]:
    printed = await asyncio.to_thread(run_command, "kpi_content", command, settings=environment(settings, feed))
    found: dict[str, Any] = json.loads(printed)
    return found


async def fill(service: Following) -> None:
    """Accounts of all kinds, and authors that auth does not know."""
    feed = service.feeds[0]
    for number in range(1, 40):
        feed.change(number, "account.created")
    for number in range(5, 15):
        feed.change(number, username=f"renamed{number}")
    for number in range(10, 20):
        feed.change(number, "account.deleted", is_deleted=True)
    for number in range(15, 20):
        feed.change(number, "account.restored", is_deleted=False)
    await eventually(lambda: service.settled)
    service.app.state.revocations = None
    for user, version in ((500, 7), (501, None), (3, 1), (12, 1)):
        body = {"title": "A title", "content": ""}
        headers = service.token(user=user, version=version)
        assert (await service.client.post("/posts", json=body, headers=headers)).status_code == 201


async def test_the_command_builds_the_same_rows(follow: Follow, following_settings: ContentSettings) -> None:
    async with follow() as service:
        await fill(service)
        before = await service.rows(ALL)
        assert len(before) == 41
        assert {row for row in before if row[0] >= 500} == {(500, "user500", 7, False), (501, "user501", 0, False)}
        # What went wrong, in ways that no event would repair.
        await service.execute("UPDATE authors SET username = 'wrong' WHERE id = 3")
        await service.execute("UPDATE authors SET version = 90 WHERE id = 4")
        await service.execute("UPDATE authors SET username = NULL, is_deleted = true WHERE id = 5")
        await service.execute("DELETE FROM authors WHERE id = 6")
        await service.execute("INSERT INTO authors VALUES (600, 'unknown')")
        feed = service.feeds[0]
        assert await run(following_settings, feed, "rebuild-inbox") == {"accounts": 39, "cursor": feed.seq}
        assert await service.rows(ALL) == before
        shown = await run(following_settings, feed, "show-inbox")
        assert shown == {"cursor": feed.seq, "last": feed.seq, "behind": 0.0, "authors": 41}
        # The running service goes on from there.
        feed.change(7, username="again")
        await eventually(lambda: service.settled)
        assert (7, "again", 3, False) in await service.rows(ALL)


async def test_members_of_conversations_stay(follow: Follow, following_settings: ContentSettings) -> None:
    """Also those that auth does not know, as authors of posts do."""
    async with follow() as service:
        service.feeds[0].change(1, "account.created")
        await eventually(lambda: service.settled)
        service.app.state.revocations = None
        made = await service.client.post("/conversations", json={"title": "Of bees"}, headers=service.token(user=502))
        assert made.status_code == 201, made.text
        await service.execute("INSERT INTO authors VALUES (600, 'unknown')")
        await run(following_settings, service.feeds[0], "rebuild-inbox")
        assert [row[0] for row in await service.rows(ALL)] == [1, 502]


async def test_events_that_come_meanwhile_are_not_lost(follow: Follow, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state that was read before an event, and is written after it, changes nothing."""
    async with follow() as service:
        await fill(service)
        feed, app = service.feeds[0], service.app
        read = FeedClient.get_accounts

        async def read_late(self: FeedClient, address: str, *, after: int) -> object:
            page = await read(self, address, after=after)
            # The worker may read at the same time.
            if feed.accounts[20]["version"] == 1:
                feed.change(20, username="meanwhile")
            database = app.state.database
            async with database.writing() as connection:
                await inbox_service._project(connection, [inbox_service.Account(20, "meanwhile", 2)])
            return page

        with monkeypatch.context() as patch:
            patch.setattr(FeedClient, "get_accounts", read_late)
            await inbox_service.rebuild(app.state.database, app.state.feed_client)
        await eventually(lambda: service.settled)
        assert (20, "meanwhile", 2, False) in await service.rows(ALL)


async def test_an_interrupted_rebuild_is_completed_by_the_service(
    follow: Follow, feeds: tuple[StandIn, StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with follow() as service:
        await fill(service)
        before = await service.rows(ALL)
        posts = (await service.client.get("/posts?limit=100")).json()["items"]
        app = service.app

        async def fail(*_: object, **__: object) -> None:
            raise FeedError("it was killed here")

        with monkeypatch.context() as patch:
            patch.setattr(inbox_service, "_project", fail)
            with pytest.raises(FeedError):
                await inbox_service.rebuild(app.state.database, app.state.feed_client)
            # Readers see the names as they were.
            assert (await service.client.get("/posts?limit=100")).json()["items"] == posts
    async with follow() as service:
        await eventually(lambda: service.settled)
        assert await service.rows(ALL) == before


async def test_without_auth_nothing_is_dropped(follow: Follow, following_settings: ContentSettings) -> None:
    async with follow() as service:
        await fill(service)
        before = await service.rows(ALL)
        service.feeds[0].status = 500
        with pytest.raises(AssertionError, match="kpi-content: auth's feed: it responded with an error"):
            await run(following_settings, service.feeds[0], "rebuild-inbox")
        assert await service.rows(ALL) == before


async def test_the_commands_need_the_feed(follow: Follow, following_settings: ContentSettings) -> None:
    async with follow() as service:
        given = environment(following_settings, service.feeds[0])
        given = {name: value for name, value in given.items() if name not in {"AUTH_INTERNAL_URL", "FEED_KEY"}}
        with pytest.raises(AssertionError, match="AUTH_INTERNAL_URL and FEED_KEY are not set"):
            await asyncio.to_thread(run_command, "kpi_content", "show-inbox", settings=given)


def test_no_proxy_of_the_environment_gets_the_feed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    client = FeedClient(addresses=("http://127.0.0.1:2",), key=KEY)
    transport = client._client._transport_for_url(httpx.URL("http://127.0.0.1:2"))
    assert transport is client._client._transport
