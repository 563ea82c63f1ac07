"""Authors follow auth's accounts: renamed, deleted, restored, read anew, whatever order the news come in."""

import asyncio
from typing import Any

import pytest
from content_support import assert_problem
from feed_stand_in import StandIn, eventually
from following_support import Follow, Following
from kpi_content.inbox import service as inbox_service
from kpi_shared.feed import client as feed_client

ALL = "SELECT id, username, version, is_deleted FROM authors ORDER BY id"


async def add_post(service: Following, user: int, *, version: int | None = 1, **more: object) -> dict[str, Any]:
    body = {"title": f"A title of {user}", "content": "", **more}
    headers = service.token(user=user, version=version, sid=str(user))
    response = await service.client.post("/posts", json=body, headers=headers)
    assert response.status_code == 201, response.text
    post: dict[str, Any] = response.json()
    return post


async def owner(service: Following, post: dict[str, Any]) -> dict[str, Any]:
    response = await service.client.get(f"/posts/{post['id']}")
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()["owner"]
    return found


async def settle(service: Following) -> None:
    await eventually(lambda: service.settled)


async def test_the_first_start_reads_all_accounts(follow: Follow, feeds: tuple[StandIn, StandIn]) -> None:
    for number in range(1, 6):
        feeds[0].change(number, "account.created")
    feeds[0].change(2, "account.deleted", is_deleted=True)
    # Their events are not kept any more.
    feeds[0].events.clear()
    feeds[0].kept_after = feeds[0].seq
    async with follow() as service:
        await settle(service)
        assert await service.rows(ALL) == [
            (1, "user1", 1, False),
            (2, None, 2, True),
            *((number, f"user{number}", 1, False) for number in (3, 4, 5)),
        ]


async def test_posts_show_the_name_that_their_author_has(follow: Follow) -> None:
    async with follow() as service:
        await settle(service)
        feed = service.feeds[0]
        feed.change(11, "account.created")
        await settle(service)
        post = await add_post(service, 11)
        assert post["owner"] == {"id": 11, "username": "user11", "deleted": False}
        before = await service.client.get(f"/posts/{post['id']}")
        listed = await service.client.get("/posts")
        feed.change(11, username="marie")
        await settle(service)
        after = await service.client.get(f"/posts/{post['id']}", headers={"If-None-Match": before.headers["ETag"]})
        assert (after.status_code, after.json()["owner"]["username"]) == (200, "marie")
        again = await service.client.get("/posts", headers={"If-None-Match": listed.headers["ETag"]})
        assert again.json()["items"][0]["owner"] == {"id": 11, "username": "marie", "deleted": False}


async def test_a_deleted_account_has_posts_without_a_name_and_a_restored_one_has_its_name_again(
    follow: Follow,
) -> None:
    async with follow() as service:
        await settle(service)
        feed = service.feeds[0]
        feed.change(11, "account.created")
        post = await add_post(service, 11)
        feed.change(11, "account.deleted", is_deleted=True)
        await settle(service)
        assert await owner(service, post) == {"id": 11, "username": None, "deleted": True}
        listed = (await service.client.get("/posts?search=title&total=true")).json()
        assert (listed["total"], listed["items"][0]["owner"]["deleted"]) == (1, True)
        feed.change(11, "account.restored", is_deleted=False)
        await settle(service)
        assert await owner(service, post) == {"id": 11, "username": "user11", "deleted": False}


async def test_posts_of_deleted_accounts_can_be_hidden(follow: Follow) -> None:
    async with follow(author_deletion="hide") as service:
        await settle(service)
        feed = service.feeds[0]
        for number in (11, 12):
            feed.change(number, "account.created")
        hidden, other = await add_post(service, 11), await add_post(service, 12)
        voter, vote = service.token(user=12, sid="12"), {"post_id": hidden["id"], "direction": 1}
        assert (await service.client.post("/votes", json=vote, headers=voter)).json()["votes"] == 1
        feed.change(11, "account.deleted", is_deleted=True)
        await settle(service)
        address = f"/posts/{hidden['id']}"
        assert_problem(await service.client.get(address), 404, "post-not-found")
        assert_problem(await service.client.post("/votes", json=vote, headers=voter), 404, "post-not-found")
        retraction = vote | {"direction": 0}
        assert_problem(await service.client.post("/votes", json=retraction, headers=voter), 404, "post-not-found")
        for headers in (voter, service.admin()):
            assert_problem(await service.client.delete(address, headers=headers), 404, "post-not-found")
            match = headers | {"If-Match": "*"}
            assert_problem(await service.client.delete(address, headers=match), 404, "post-not-found")
            change = {"title": "Another"}
            assert_problem(await service.client.patch(address, json=change, headers=headers), 404, "post-not-found")
        for query in ("?total=true", "?total=true&search=title", "?total=true&sort=top", "?total=true&skip=0"):
            listed = (await service.client.get(f"/posts{query}")).json()
            assert ([post["id"] for post in listed["items"]], listed["total"]) == ([other["id"]], 1), query
        # The post and its vote stay, and come back with the account.
        feed.change(11, "account.restored", is_deleted=False)
        await settle(service)
        assert (await service.client.get(address)).json()["votes"] == 1
        assert (await service.client.get("/posts?total=true")).json()["total"] == 2


async def test_the_higher_version_wins_in_any_order(follow: Follow) -> None:
    async with follow() as service:
        await settle(service)
        feed = service.feeds[0]
        # A post of an account that no event has told of yet.
        first = await add_post(service, 11, version=5)
        assert await service.rows(ALL) == [(11, "user11", 5, False)]
        state = {"id": 11, "role": "user", "is_active": True, "is_deleted": False}
        feed.publish("account.renamed", account_id=11, **state, username="older", version=4)
        await settle(service)
        assert (await owner(service, first))["username"] == "user11"
        for version in (8, 7, 6):
            feed.publish("account.renamed", account_id=11, **state, username=f"name{version}", version=version)
        await settle(service)
        assert await service.rows(ALL) == [(11, "name8", 8, False)]
        # The token of an older version, which was not refused yet, and one of an older auth.
        service.app.state.revocations = None
        await add_post(service, 11, version=7)
        await add_post(service, 11, version=None)
        assert await service.rows(ALL) == [(11, "name8", 8, False)]


async def test_a_deletion_outlives_a_post_with_an_older_token(follow: Follow) -> None:
    async with follow() as service:
        await settle(service)
        feed = service.feeds[0]
        feed.change(11, "account.created")
        feed.change(11, "account.deleted", is_deleted=True)
        await settle(service)
        service.app.state.revocations = None
        post = await add_post(service, 11, version=1)
        assert await owner(service, post) == {"id": 11, "username": None, "deleted": True}
        # As code before migration c003 does.
        await service.execute(
            "INSERT INTO authors (id, username) VALUES (11, 'old'), (12, 'new') ON CONFLICT (id) DO UPDATE "
            "SET username = excluded.username WHERE authors.username <> excluded.username"
        )
        assert await service.rows(ALL) == [(11, None, 2, True), (12, "new", 0, False)]


async def test_events_that_are_gone_are_replaced_by_all_accounts(
    follow: Follow, feeds: tuple[StandIn, StandIn]
) -> None:
    feeds[0].change(11, "account.created")
    async with follow() as service:
        await settle(service)
    feeds[0].change(11, username="marie")
    feeds[0].change(12, "account.created")
    feeds[0].events.clear()
    feeds[0].kept_after = feeds[0].seq
    async with follow() as service:
        await settle(service)
        assert await service.rows(ALL) == [(11, "marie", 2, False), (12, "user12", 1, False)]
        assert await service.rows("SELECT source, seq FROM inbox") == [("auth", 3)]


async def test_many_accounts_and_events_are_read_page_by_page(
    follow: Follow, feeds: tuple[StandIn, StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_client, "ACCOUNTS_PAGE_SIZE", 7)
    for page_size in (feed_client, inbox_service):
        monkeypatch.setattr(page_size, "PAGE_SIZE", 5)
    for number in range(1, 40):
        feeds[0].change(number, "account.created")
    async with follow() as service:
        await settle(service)
        for number in range(1, 60):
            feeds[0].change(number)
            feeds[0].publish("session.ended", account_id=number, session_id=number, reason="logout")
        await settle(service)
        assert [row[0] for row in await service.rows(ALL)] == list(range(1, 60))
        assert {row[2] for row in await service.rows(ALL) if row[0] < 40} == {2}


async def test_an_event_that_cannot_be_read_stops_nothing(follow: Follow) -> None:
    async with follow() as service:
        await settle(service)
        feed = service.feeds[0]
        feed.publish("account.created", account_id=11, id=11, username=["x"])
        feed.change(12, "account.created")
        await settle(service)
        assert await service.rows(ALL) == [(12, "user12", 1, False)]


async def test_two_processes_write_the_same(follow: Follow, feeds: tuple[StandIn, StandIn]) -> None:
    async with follow() as one, follow() as other:
        await settle(one)
        await settle(other)
        for round_ in range(20):
            for number in (*range(1, 30), *range(30, 0, -1)):
                feeds[0].change(number, username=f"name{round_}")
            await asyncio.sleep(0.01)
        await settle(one)
        await settle(other)
        expected = [(each["id"], each["username"], each["version"], False) for each in feeds[0].accounts.values()]
        assert await one.rows(ALL) == sorted(expected)
