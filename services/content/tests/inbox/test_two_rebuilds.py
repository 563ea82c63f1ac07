"""Rebuilds of the authors one at a time: two at once, one that stands still, and one whose process was killed."""

import asyncio

import pytest
from feed_stand_in import eventually
from following_support import Follow, Following
from kpi_content.inbox import service as inbox_service
from kpi_content.inbox.errors import RebuildTakenError
from kpi_shared.feed.client import FeedClient

ALL = "SELECT id, username, version, is_deleted FROM authors ORDER BY id"
TURN_IS_OVER = "UPDATE inbox SET held_until = now() - interval '1 s'"


class Pause:
    """Holds back a page of accounts that has been read, the first or a later one of the current task."""

    def __init__(self, patch: pytest.MonkeyPatch, *, page: int) -> None:
        self.reached, self.go = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[object] | None = None
        self._left = page
        read = FeedClient.get_accounts

        async def read_late(client: FeedClient, address: str, *, after: int) -> object:
            page = await read(client, address, after=after)
            if asyncio.current_task() is self._task:
                self._left -= 1
                if not self._left:
                    self.reached.set()
                    await self.go.wait()
            return page

        patch.setattr(FeedClient, "get_accounts", read_late)

    async def begin(self, service: Following) -> "asyncio.Task[inbox_service.Rebuilt]":
        state = service.app.state
        self._task = task = asyncio.create_task(inbox_service.rebuild(state.database, state.feed_client))
        await asyncio.wait_for(self.reached.wait(), 20)
        return task


async def fill(service: Following) -> None:
    for number in range(1, 40):
        service.feeds[0].change(number, "account.created")
    await eventually(lambda: service.settled)


async def change_and_settle(service: Following) -> None:
    feed = service.feeds[0]
    feed.change(20, username="newer")
    feed.change(21, "account.deleted", is_deleted=True)
    await eventually(lambda: service.settled)


async def assert_equal_to_the_accounts(service: Following) -> None:
    await eventually(lambda: service.settled)
    accounts = service.feeds[0].accounts.values()
    expected = [
        (each["id"], None if each["is_deleted"] else each["username"], each["version"], each["is_deleted"])
        for each in accounts
    ]
    assert await service.rows(ALL) == sorted(expected)


async def test_a_page_from_before_the_marks_is_not_written(follow: Follow, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service goes on from the cursor while the command still waits for its first page."""
    async with follow() as service:
        await fill(service)
        pause = Pause(monkeypatch, page=1)
        rebuild = await pause.begin(service)
        await change_and_settle(service)
        pause.go.set()
        assert (await rebuild).accounts == 39
        await assert_equal_to_the_accounts(service)


async def test_a_rebuild_that_was_overtaken_writes_nothing_more(
    follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with follow() as service:
        await fill(service)
        pause = Pause(monkeypatch, page=2)
        rebuild = await pause.begin(service)
        # It stands still for so long that the service begins anew, and goes on.
        await service.execute(TURN_IS_OVER)
        await change_and_settle(service)
        pause.go.set()
        with pytest.raises(RebuildTakenError):
            await rebuild
        await assert_equal_to_the_accounts(service)


async def test_the_service_leaves_a_rebuild_that_is_under_way_alone(
    follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with follow() as service:
        await fill(service)
        pause = Pause(monkeypatch, page=2)
        rebuild = await pause.begin(service)
        service.feeds[0].change(20, username="newer")
        # It has seen that there is no cursor.
        await eventually(lambda: service.app.state.inbox.seq == -1)
        assert await service.rows("SELECT rebuild, seq FROM inbox") == [(2, None)]
        pause.go.set()
        assert (await rebuild).accounts == 39
        await assert_equal_to_the_accounts(service)


async def test_a_second_command_takes_the_turn_of_the_first(follow: Follow, monkeypatch: pytest.MonkeyPatch) -> None:
    async with follow() as service:
        await fill(service)
        pause = Pause(monkeypatch, page=2)
        rebuild = await pause.begin(service)
        second = await inbox_service.rebuild(service.app.state.database, service.app.state.feed_client)
        assert second.accounts == 39
        await change_and_settle(service)
        pause.go.set()
        with pytest.raises(RebuildTakenError):
            await rebuild
        await assert_equal_to_the_accounts(service)


async def test_a_killed_rebuild_is_completed_without_a_further_event(
    follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with follow() as service:
        await fill(service)
        pause = Pause(monkeypatch, page=2)
        rebuild = await pause.begin(service)
        rebuild.cancel()
        await asyncio.wait({rebuild})
        assert {row[2] for row in await service.rows(ALL)} == {-2}
        await service.execute(TURN_IS_OVER)
        await eventually(lambda: has_no_marks(service))
        await assert_equal_to_the_accounts(service)


async def has_no_marks(service: Following) -> bool:
    return not await service.rows("SELECT FROM authors WHERE version < 0")
