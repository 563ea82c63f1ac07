"""Keeping the authors equal to auth's accounts, from its events or, at first and after a loss, from all accounts.

Each process does it, in any order and as often as it may be: a lower version of an account changes nothing.
"""

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

import structlog
from kpi_shared.database import Database
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_content.authors import repository as authors
from kpi_content.authors.repository import Account
from kpi_content.feed.client import PAGE_SIZE, FeedClient
from kpi_content.feed.errors import EventsGoneError
from kpi_content.feed.schemas import AccountState, Event
from kpi_content.inbox import repository
from kpi_content.posts.repository import has_posts

log = structlog.get_logger(__name__)


class Progress(NamedTuple):
    """The place up to which all has been read, and whether there is more."""

    seq: int
    has_more: bool


class Rebuilt(NamedTuple):
    seq: int
    accounts: int


async def read_page(database: Database, feed: FeedClient) -> Progress:
    """Read the next events, or all accounts where there is no place to go on from."""
    async with database.reading() as connection:
        cursor = await repository.find_cursor(connection)
    if cursor is None:
        return Progress((await read_accounts(database, feed)).seq, has_more=True)
    try:
        page = await feed.ask_any(partial(feed.get_events, after=cursor))
    except EventsGoneError:
        log.warning("events are gone, all accounts are read", after=cursor)
        await _forget(database, cursor)
        return Progress(cursor, has_more=True)
    if page.last > cursor:
        async with database.working() as connection:
            await _project(connection, _accounts_of(page.items))
            await repository.advance(connection, seq=page.last)
    return Progress(page.last, has_more=len(page.items) >= PAGE_SIZE)


async def rebuild(database: Database, feed: FeedClient) -> Rebuilt:
    """Drop the copy and build it anew. Where it is interrupted, the running service goes on."""
    async with database.reading() as connection:
        cursor = await repository.find_cursor(connection)
    if cursor is not None:
        await _forget(database, cursor)
    return await read_accounts(database, feed)


async def read_accounts(database: Database, feed: FeedClient) -> Rebuilt:
    """Replace every author by the account that auth has now; authors of posts that auth does not know stay."""
    # Before anything is marked: an auth that does not respond leaves all as it is.
    page = await feed.ask_any(partial(feed.get_accounts, after=0))
    seq, count = page.seq, 0
    await _mark_authors(database)
    while True:
        async with database.working() as connection:
            await _project(connection, map(_to_account, page.items))
        count += len(page.items)
        if page.next is None:
            break
        page = await feed.ask_any(partial(feed.get_accounts, after=page.next))
    await _settle_authors(database)
    async with database.working() as connection:
        await repository.begin(connection, seq=seq)
    log.info("accounts read", accounts=count, seq=seq)
    return Rebuilt(seq, count)


async def _forget(database: Database, cursor: int) -> None:
    async with database.working() as connection:
        await repository.forget(connection, seq=cursor)


async def _mark_authors(database: Database) -> None:
    after = 0
    while True:
        async with database.working() as connection:
            if (batch := await authors.find_batch(connection, after=after)) is None:
                return
            await authors.mark(connection, batch)
        after = batch.upto


async def _settle_authors(database: Database) -> None:
    after = 0
    while True:
        async with database.working() as connection:
            if (batch := await authors.find_batch(connection, after=after)) is None:
                return
            await authors.settle(connection, batch, is_needed=has_posts(authors.author_id))
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


def _accounts_of(events: Iterable[Event]) -> Iterable[Account]:
    for event in events:
        if event.is_of_account:
            try:
                yield _to_account(AccountState.model_validate(event.data))
            except ValidationError:
                # Stopping here would stop all that comes after it, too.
                log.exception("an event cannot be read", seq=event.seq, type=event.type)


def _to_account(state: AccountState) -> Account:
    return Account(state.id, None if state.is_deleted else state.username, state.version)
