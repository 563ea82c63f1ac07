"""The reader that all streams of a process share: catching up, slow readers, wake-ups."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from math import inf
from typing import Any

import pytest
from kpi_auth.app import create_app
from kpi_auth.events import feed as feed_module
from kpi_auth.events import repository
from kpi_auth.events.errors import EventsGoneError, ReadOnlyFeedError
from kpi_auth.events.feed import Feed
from kpi_auth.events.listener import create_listener
from kpi_auth.events.models import EventType, PlacedEvent
from kpi_auth.events.payloads import SessionEnded
from kpi_auth.events.streams import EventStream
from kpi_auth.internal import create_internal_app
from kpi_auth.settings import AuthSettings
from kpi_shared.background import running
from kpi_shared.database import Database
from kpi_shared.testing.client import client_of
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

    def __init__(self, feed: Feed, *, after: int = 0) -> None:
        self._parts = EventStream(feed, after=after, lifetime=LIFETIME).lines()
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
    reader = Reader(feed)
    assert await reader.read_ids(1300) == list(range(1, 1301))
    await put(database, 2001)
    await read_through(feed)
    assert await reader.read_ids(1) == [2001]


async def test_a_long_catching_up_has_heartbeats_in_between(database: Database) -> None:
    feed = Feed(database)
    await put(database, *range(1, 1301))
    await read_through(feed)
    reader = Reader(feed)
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
    reader = Reader(feed, after=first)
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
    reader = Reader(feed)
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
    slow, fast = Reader(feed), Reader(feed)
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

    def fail(_event: PlacedEvent) -> None:
        raise ValueError

    feed.on_event += [fail, lambda event: seen.append(event.data["session_id"])]
    reader = Reader(feed)
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
    assert await Reader(feed).read_ids(1) == [7]
    assert (await feed.read_revocations(lifetime=timedelta(seconds=LIFETIME))).items == ""


async def test_a_feed_says_how_long_it_has_not_read(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = 1000.0
    monkeypatch.setattr(feed_module, "monotonic", lambda: moment)
    feed = Feed(database)
    assert (feed.is_ready, feed.behind) == (False, inf)
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


@asynccontextmanager
async def read_only(database: Database) -> AsyncIterator[None]:
    """As an old primary that has been demoted is, for all connections."""
    async with database.reading() as connection:
        name = await connection.scalar(text("SELECT current_database()"))
        await connection.execute(text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'))
    try:
        yield
    finally:
        async with database.reading() as connection:
            await connection.execute(text("SET default_transaction_read_only = off"))
            await connection.execute(text(f'ALTER DATABASE "{name}" RESET default_transaction_read_only'))
            await connection.execute(text("RESET default_transaction_read_only"))


async def test_a_read_only_database_makes_nothing_known(
    database: Database, quiet_settings: AuthSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = 1000.0
    monkeypatch.setattr(feed_module, "monotonic", lambda: moment)
    await put(database, 1)
    other = Database(quiet_settings)
    try:
        feed = Feed(other)
        await read_through(feed)
        reader = Reader(feed)
        assert await reader.read_ids(1) == [1]
        async with read_only(database):
            other.state.doubt()
            moment += 5
            with pytest.raises(ReadOnlyFeedError):
                await feed.step()
            assert feed.behind == 5
            with pytest.raises(ReadOnlyFeedError):
                await feed.read_page(after=0, most=10)
            with pytest.raises(ReadOnlyFeedError):
                await feed.read_revocations(lifetime=timedelta(seconds=LIFETIME))
        async with asyncio.timeout(20):
            while feed.behind:
                with suppress(ReadOnlyFeedError):
                    await feed.step()
                await asyncio.sleep(0.1)
        assert len(await feed.read_page(after=0, most=10)) == 1
    finally:
        await other.close()


async def test_a_stream_whose_events_are_deleted_meanwhile_ends(database: Database) -> None:
    feed = Feed(database)
    await put(database, *range(1, 1301))
    await read_through(feed)
    reader = Reader(feed)
    assert await reader.read_ids(500) == list(range(1, 501))
    async with database.writing() as connection:
        await connection.execute(text("UPDATE events SET occurred_at = now() - interval '40 days'"))
        assert await repository.forget_old(connection, kept=timedelta(days=30), needed=None, most=600) == 600
    async with asyncio.timeout(20):
        assert [line async for line in reader.lines if "data" in line] == []
    first = feed.position - 1299
    for after in (first, first + 598, feed.position + 1):
        with pytest.raises(EventsGoneError):
            await feed.read_page(after=after, most=10)
    assert len(await feed.read_page(after=first + 599, most=1000)) == 700


async def test_a_commit_wakes_a_listener(database: Database, quiet_settings: AuthSettings) -> None:
    settings = quiet_settings.model_copy(update={"listen_database_url": quiet_settings.database_url})
    wake = asyncio.Event()
    async with running(create_listener(settings, wake).run(), name="listener"), asyncio.timeout(20):
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
    async with running(create_listener(settings, wake).run(), name="listener"), asyncio.timeout(20):
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
    await create_listener(quiet_settings, wake).run()
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
            key = app.state.settings.feed_key.get_secret_value()
            async with client_of(create_internal_app(app)) as client:
                for path in ("revocations", "events/page?after=0"):
                    url = f"/internal/feed/{path}"
                    response = await client.get(url, headers={"Authorization": f"Bearer {key}"})
                    assert response.status_code == 200, response.text
