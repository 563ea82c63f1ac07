"""Keeping the authors equal to auth's accounts, from its events or, at first and after a loss, from all accounts.

Each process does it, in any order and as often as it may be: a lower version of an account changes nothing.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import NamedTuple

import structlog
from kpi_shared.database import Database
from kpi_shared.feed.client import PAGE_SIZE, FeedClient
from kpi_shared.feed.errors import EventsGoneError, FeedError
from kpi_shared.feed.schemas import AccountState, FeedEvent
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_content.authors import repository as authors
from kpi_content.authors.repository import Account, Batch
from kpi_content.inbox import repository
from kpi_content.inbox.errors import RebuildTakenError

log = structlog.get_logger(__name__)


class Progress(NamedTuple):
    """The place up to which all has been read, and whether there is more."""

    seq: int
    has_more: bool


class Rebuilt(NamedTuple):
    seq: int
    accounts: int


UNKNOWN = Progress(-1, has_more=False)


async def read_page(database: Database, feed: FeedClient) -> Progress:
    """Read the next events, or all accounts where there is no place to go on from."""
    cursor = await find_cursor(database)
    if cursor is None:
        return await _read_accounts_in_turn(database, feed)
    try:
        page = await feed.ask_any(partial(feed.get_events, after=cursor))
    except EventsGoneError:
        log.warning("events have been deleted, all accounts are read again", after=cursor)
        async with database.working() as connection:
            await repository.forget(connection, seq=cursor)
        return Progress(cursor, has_more=True)
    if page.last > cursor:
        async with database.working() as connection:
            await _project(connection, _accounts_of(page.items))
            await repository.advance(connection, seq=page.last)
    return Progress(page.last, has_more=len(page.items) >= PAGE_SIZE)


async def find_cursor(database: Database) -> int | None:
    """The place up to which all has been read; None where all accounts must be read."""
    async with database.reading() as connection:
        return await repository.find_cursor(connection)


async def rebuild(database: Database, feed: FeedClient) -> Rebuilt:
    """Drop the copy and build it anew. Where it is interrupted, the running service goes on."""
    await _probe(feed)
    async with database.working() as connection:
        number = await repository.begin_rebuild(connection, is_ordered=True)
    if number is None:
        raise RebuildTakenError
    return await _read_accounts(database, feed, number)


async def _read_accounts_in_turn(database: Database, feed: FeedClient) -> Progress:
    await _probe(feed)
    async with database.working() as connection:
        number = await repository.begin_rebuild(connection, is_ordered=False)
    if number is None:
        return UNKNOWN
    try:
        return Progress((await _read_accounts(database, feed, number)).seq, has_more=True)
    except RebuildTakenError:
        return UNKNOWN


async def _probe(feed: FeedClient) -> None:
    """Before anything is dropped or marked: an auth that does not respond leaves all as it is."""
    await feed.ask_any(partial(feed.get_accounts, after=0))


async def _read_accounts(database: Database, feed: FeedClient, number: int) -> Rebuilt:
    """Replace every author by the account that auth has now; of those that auth does not know, what is needed stays."""
    try:
        await _for_each_batch(database, number, authors.mark)
        # After the marks, which any state replaces: one that was read earlier may be older than what was marked.
        rebuilt = await _copy_accounts(database, feed, number)
        await _for_each_batch(database, number, authors.settle)
        async with database.working() as connection:
            if not await repository.end_rebuild(connection, number, seq=rebuilt.seq):
                raise RebuildTakenError
    except (FeedError, SQLAlchemyError, TimeoutError):
        await _release(database, number)
        raise
    log.info("accounts read", accounts=rebuilt.accounts, seq=rebuilt.seq)
    return rebuilt


async def _copy_accounts(database: Database, feed: FeedClient, number: int) -> Rebuilt:
    page = await feed.ask_any(partial(feed.get_accounts, after=0))
    seq, count = page.seq, 0
    while True:
        async with _turn(database, number) as connection:
            await _project(connection, map(_to_account, page.items))
        count += len(page.items)
        if page.next is None:
            return Rebuilt(seq, count)
        page = await feed.ask_any(partial(feed.get_accounts, after=page.next))


@asynccontextmanager
async def _turn(database: Database, number: int) -> AsyncIterator[AsyncConnection]:
    """One transaction of a rebuild, which no other can overtake. RebuildTakenError if another has begun."""
    async with database.working() as connection:
        if not await repository.hold_rebuild(connection, number):
            raise RebuildTakenError
        yield connection


async def _release(database: Database, number: int) -> None:
    """Let the next rebuild begin at once. If this fails, too, it begins later."""
    with suppress(SQLAlchemyError, TimeoutError):
        async with database.working() as connection:
            await repository.release_rebuild(connection, number)


async def _for_each_batch(
    database: Database, number: int, change: Callable[[AsyncConnection, Batch], Awaitable[None]]
) -> None:
    """Change all authors in short transactions."""
    after = 0
    while True:
        async with _turn(database, number) as connection:
            if (batch := await authors.find_batch(connection, after=after)) is None:
                return
            await change(connection, batch)
        after = batch.upto


async def _project(connection: AsyncConnection, accounts: Iterable[Account]) -> None:
    """Of several states of one account, the one with the highest version."""
    newest: dict[int, Account] = {}
    for account in accounts:
        known = newest.get(account.id)
        if known is None or known.version < account.version:
            newest[account.id] = account
    if newest:
        await authors.project(connection, accounts=list(newest.values()))


def _accounts_of(events: Iterable[FeedEvent]) -> Iterable[Account]:
    for event in events:
        if event.is_of_account:
            try:
                yield _to_account(AccountState.model_validate(event.data))
            except ValidationError:
                # Stopping here would stop all that comes after it, too.
                log.exception("an event cannot be read", seq=event.seq, type=event.type)


def _to_account(state: AccountState) -> Account:
    return Account(state.id, None if state.is_deleted else state.username, state.version)
