"""The order of events: a reader that goes on from the last place sees each committed event once."""

import asyncio
import random
from collections import defaultdict
from contextlib import suppress
from typing import Any

from kpi_auth.accounts import write_repository as accounts
from kpi_auth.accounts.models import NewAccount
from kpi_auth.events import repository
from kpi_auth.events.feed import Feed
from kpi_auth.events.models import PlacedEvent
from kpi_auth.events.relay import Relay
from kpi_shared.database import Database
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

WRITERS = 8
CHANGES = 40
ACCOUNTS = 5


class AbandonedError(Exception):
    """A writer rolls back."""


async def add_account(database: Database, username: str) -> int:
    async with database.writing() as connection:
        row = await accounts.add(connection, NewAccount(username, None, email_signs_in=False))
    assert row is not None
    return int(row.id)


async def rename(connection: AsyncConnection, user_id: int, username: str) -> None:
    await accounts.lock(connection, user_id=user_id)
    await accounts.change(connection, user_id=user_id, values={"username": username})


async def number_all(database: Database) -> None:
    while await Relay(database).step():
        pass


async def read_all(database: Database, *, after: int = 0) -> list[PlacedEvent]:
    async with database.reading() as connection:
        return await repository.get_page(connection, after=after, most=10_000)


async def test_a_late_commit_comes_after_what_was_read_before_it(database: Database) -> None:
    anna, berta = await add_account(database, "anna"), await add_account(database, "berta")
    async with database.writing() as connection:
        await rename(connection, anna, "anna2")
        async with database.writing() as other:
            await rename(other, berta, "berta2")
        await number_all(database)
        seen = await read_all(database)
        assert [event.data["username"] for event in seen] == ["anna", "berta", "berta2"]
    await number_all(database)
    (late,) = await read_all(database, after=seen[-1].seq)
    assert late.data["username"] == "anna2"


async def test_only_one_process_numbers_at_a_time(database: Database) -> None:
    await add_account(database, "anna")
    async with database.writing() as connection:
        assert await repository.number(connection, most=10) == 1
        # The lock lasts until the first has committed.
        async with database.writing() as other:
            assert await repository.number(other, most=10) is None
    async with database.writing() as connection:
        assert await repository.number(connection, most=10) == 0


async def test_a_process_that_stands_still_after_numbering_holds_up_no_other(database: Database) -> None:
    await add_account(database, "anna")
    async with database.committing() as standing:
        assert await repository.number(standing, most=10) == 1
        await add_account(database, "berta")
        assert await Relay(database).step()


async def test_what_was_rolled_back_has_no_place(database: Database) -> None:
    with suppress(AbandonedError):
        async with database.writing() as connection:
            await accounts.add(connection, NewAccount("anna", None, email_signs_in=False))
            raise AbandonedError
    await number_all(database)
    assert await read_all(database) == []


async def write(database: Database, user_ids: list[int], writer: int) -> list[tuple[int, int]]:
    """Rename accounts; returns the accounts and versions that were committed."""
    committed = []
    for number in range(CHANGES):
        user_id = random.choice(user_ids)
        with suppress(AbandonedError):
            async with database.writing() as connection:
                await accounts.lock(connection, user_id=user_id)
                values: dict[str, Any] = {"username": f"name-{writer}-{number}"}
                row = await accounts.change(connection, user_id=user_id, values=values)
                # So that transactions commit in another order than they write.
                await asyncio.sleep(random.uniform(0, 0.01))
                if random.random() < 0.1:
                    raise AbandonedError
            committed.append((user_id, row.version))
    return committed


async def run_at_random(feed: Feed, until: asyncio.Event) -> None:
    """Start and stop the feed, with its relay, again and again in the middle of what it does."""
    while not until.is_set():
        task = asyncio.create_task(feed.run())
        await asyncio.sleep(random.uniform(0, 0.05))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_eight_writers_and_relays_that_stop_lose_and_repeat_nothing(database: Database) -> None:
    user_ids = [await add_account(database, f"account-{number}") for number in range(ACCOUNTS)]
    seen: list[list[PlacedEvent]] = [[] for _ in range(3)]
    feeds = [Feed(database) for _ in seen]
    for feed, events in zip(feeds, seen, strict=True):
        feed.on_event.append(events.append)
        await feed.step()
    done = asyncio.Event()
    relays = [asyncio.create_task(run_at_random(feed, done)) for feed in feeds]
    committed = await asyncio.gather(*(write(database, user_ids, writer) for writer in range(WRITERS)))
    done.set()
    await asyncio.gather(*relays)
    await number_all(database)
    for feed in feeds:
        while await feed.step():
            pass
    async with database.reading() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM events WHERE seq IS NULL")) == 0
    expected = sorted(pair for pairs in committed for pair in pairs)
    assert len(expected) > WRITERS * CHANGES / 2
    for events in seen:
        renamed = [event for event in events if event.type == "account.renamed"]
        assert sorted((event.data["id"], event.data["version"]) for event in renamed) == expected
        assert [event.seq for event in events] == sorted({event.seq for event in events})
        versions = defaultdict(list)
        for event in renamed:
            versions[event.account_id].append(event.data["version"])
        assert all(found == sorted(found) for found in versions.values())
