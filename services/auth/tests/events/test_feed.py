"""The reader that all streams of a process share: catching up, slow readers, wake-ups."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from kpi_auth.app import create_app
from kpi_auth.events import feed as feed_module
from kpi_auth.events import repository
from kpi_auth.events.feed import Feed
from kpi_auth.events.listener import Listener
from kpi_auth.events.models import Event, EventType
from kpi_auth.events.payloads import SessionEnded
from kpi_auth.events.revocations import fold
from kpi_auth.events.streams import EventStream
from kpi_auth.settings import AuthSettings
from kpi_shared.background import running
from kpi_shared.database import Database
from kpi_shared.testing.client import running as running_app
from sqlalchemy import text

LIFETIME = 900.0


async def put(database: Database, *session_ids: int) -> None:
    async with database.writing() as connection:
        for session_id in session_ids:
            ended = SessionEnded(session_id=session_id, reason="logout")
            await repository.put(connection, EventType.SESSION_ENDED, ended)


async def read_through(feed: Feed) -> None:
    while await feed.step():
        pass


class Reader:
    """Reads the lines of a stream."""

    def __init__(self, feed: Feed, database: Database, *, after: int = 0) -> None:
        self._parts = EventStream(feed, database, after=after, lifetime=LIFETIME).lines()
        self.lines = self._lines()

    async def _lines(self) -> AsyncIterator[dict[str, Any]]:
        async for part in self._parts:
            assert part.endswith(b"\n")
            for line in part.splitlines():
                yield json.loads(line)

    async def read_ids(self, count: int) -> list[int]:
        """The ids of the next sessions that ended."""
        found: list[int] = []
        async with asyncio.timeout(20):
            while len(found) < count:
                line = await anext(self.lines)
                found += [line["data"]["session_id"]] if "data" in line else []
        return found


async def test_a_stream_begins_with_what_was_missed_and_goes_on_without_a_gap(database: Database) -> None:
    feed = Feed(database)
    await put(database, *range(1, 1301))
    await read_through(feed)
    reader = Reader(feed, database)
    assert await reader.read_ids(1300) == list(range(1, 1301))
    await put(database, 2001)
    await read_through(feed)
    assert await reader.read_ids(1) == [2001]


async def test_a_long_catching_up_has_heartbeats_in_between(database: Database) -> None:
    feed = Feed(database)
    await put(database, *range(1, 1301))
    await read_through(feed)
    reader = Reader(feed, database)
    kinds = ""
    async with asyncio.timeout(20):
        while kinds.count("e") < 1300:
            kinds += "h" if (await anext(reader.lines)).get("heartbeat") else "e"
    assert kinds.startswith("h" + "e" * 500 + "h" + "e" * 500 + "h")


async def test_a_stream_may_know_more_than_the_shared_reader(database: Database) -> None:
    """A snapshot is read from the table, which the reader may not have done yet."""
    feed = Feed(database)
    await feed.step()
    await put(database, 1, 2)
    async with database.working() as connection:
        await repository.number(connection, most=10)
    async with database.reading() as connection:
        first = (await repository.get_page(connection, after=0, most=1))[0].seq
    reader = Reader(feed, database, after=first)
    assert (await anext(reader.lines))["seq"] == first
    # The stream joins before the shared reader has seen any of the two.
    pending = asyncio.create_task(reader.read_ids(1))
    await asyncio.sleep(0)
    await read_through(feed)
    assert await pending == [2]


async def test_a_stream_passes_places_whose_events_are_deleted(database: Database) -> None:
    feed = Feed(database)
    await put(database, 1, 2)
    await read_through(feed)
    async with database.writing() as connection:
        await connection.execute(text("DELETE FROM events"))
    reader = Reader(feed, database)
    async with asyncio.timeout(20):
        while (await anext(reader.lines))["seq"] < feed.position:
            pass
    await put(database, 3)
    await read_through(feed)
    assert await reader.read_ids(1) == [3]


async def test_a_reader_that_does_not_read_is_cut(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "MOST_WAITING", 10)
    feed = Feed(database)
    await feed.step()
    slow, fast = Reader(feed, database), Reader(feed, database)
    for reader in (slow, fast):
        # The second heartbeat is that of a stream that has caught up.
        assert [(await anext(reader.lines))["heartbeat"] for _ in range(2)]
    for start in (100, 200):
        await put(database, *range(start, start + 8))
        await read_through(feed)
        assert await fast.read_ids(8) == list(range(start, start + 8))
    async with asyncio.timeout(20):
        assert [line async for line in slow.lines if "data" in line] == []


async def test_each_event_is_handed_to_this_process_itself(database: Database) -> None:
    feed = Feed(database)
    await put(database, 1)
    await read_through(feed)
    seen: list[int] = []
    feed.on_event.append(lambda event: seen.append(event.data["session_id"]))
    await put(database, 2, 3)
    await read_through(feed)
    assert seen == [2, 3]


async def test_what_fails_for_an_event_stops_no_other(database: Database) -> None:
    feed = Feed(database)
    await feed.step()
    seen: list[int] = []

    def fail(_event: Event) -> None:
        raise ValueError

    feed.on_event += [fail, lambda event: seen.append(event.data["session_id"])]
    reader = Reader(feed, database)
    await anext(reader.lines)
    await put(database, 1, 2)
    await read_through(feed)
    assert seen == [1, 2]
    assert await reader.read_ids(2) == [1, 2]


async def test_a_type_that_a_newer_replica_has_written_is_passed_on(database: Database) -> None:
    feed = Feed(database)
    async with database.writing() as connection:
        new = "INSERT INTO events (type, schema_version, data) VALUES ('session.moved', 1, '{\"session_id\": 7}')"
        await connection.execute(text(new.replace(":", r"\:")))
    await read_through(feed)
    assert await Reader(feed, database).read_ids(1) == [7]
    async with database.reading() as connection:
        assert fold(await repository.get_page(connection, after=0, most=10), lifetime=LIFETIME) == []


async def test_a_feed_says_how_long_it_has_not_read(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = 1000.0
    monkeypatch.setattr(feed_module, "monotonic", lambda: moment)
    feed = Feed(database)
    assert not feed.is_ready
    await feed.step()
    assert (feed.is_ready, feed.behind) == (True, 0)
    moment += 5
    assert feed.behind == 5
    await feed.step()
    assert feed.behind == 0


async def test_an_event_without_a_place_makes_the_feed_older(database: Database) -> None:
    """The relay of another process has the lock and does not go on."""
    feed = Feed(database)
    await put(database, 1)
    async with database.writing() as connection:
        await connection.execute(text("UPDATE events SET occurred_at = now() - interval '60 seconds'"))
    async with database.writing() as connection:
        await repository.number(connection, most=10)
        await feed.step()
        assert feed.behind > 59
    await read_through(feed)
    assert feed.behind < 59


async def test_a_commit_wakes_a_listener(database: Database, quiet_settings: AuthSettings) -> None:
    settings = quiet_settings.model_copy(update={"listen_database_url": quiet_settings.database_url})
    wake = asyncio.Event()
    async with running(Listener(settings, wake).run(), name="listener"), asyncio.timeout(20):
        # At the start, since there may have been events before.
        await wake.wait()
        wake.clear()
        await put(database, 1)
        await wake.wait()
        wake.clear()
        async with database.working() as connection:
            assert await repository.number(connection, most=10) == 1
        await wake.wait()


async def test_a_listener_whose_connection_is_lost_listens_again(
    database: Database, quiet_settings: AuthSettings
) -> None:
    settings = quiet_settings.model_copy(update={"listen_database_url": quiet_settings.database_url})
    wake = asyncio.Event()
    async with running(Listener(settings, wake).run(), name="listener"), asyncio.timeout(20):
        await wake.wait()
        async with database.reading() as connection:
            ended = await connection.scalar(
                text(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND application_name = 'kpi-auth-events'"
                )
            )
        assert ended == 1
        wake.clear()
        await wake.wait()
        wake.clear()
        await put(database, 1)
        await wake.wait()


async def test_there_is_no_listener_without_an_address(quiet_settings: AuthSettings) -> None:
    wake = asyncio.Event()
    await Listener(quiet_settings, wake).run()
    assert not wake.is_set()


async def test_events_do_not_wait_behind_requests(database: Database, quiet_settings: AuthSettings) -> None:
    app = create_app(quiet_settings.model_copy(update={"database_pool_size": 1}))
    async with running_app(app), asyncio.timeout(20):
        requests: Database = app.state.database
        async with requests.reading(), requests.writing():
            seen = asyncio.Event()
            app.state.feed.on_event.append(lambda _event: seen.set())
            await put(database, 1)
            await seen.wait()
