"""The SQL of imported posts: the ledger of those that are there, and COPY for those that are not."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple, cast

import psycopg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# Any fixed number will do: two imports at once take turns, so that neither finds the other's half.
_ADVISORY_LOCK = 7_352_062

_take_turn = text("SELECT pg_advisory_xact_lock(:lock)")
_known = text("""
    SELECT source, external_id FROM post_imports
    JOIN unnest(CAST(:sources AS text[]), CAST(:external_ids AS bigint[])) AS given (source, external_id)
        USING (source, external_id)
""")
_next_ids = text("SELECT nextval(pg_get_serial_sequence('posts', 'id')) FROM generate_series(1, :count)")
_copy_posts = "COPY posts (id, owner_id, title, content, date, updated_at, votes) FROM STDIN"
_copy_ledger = "COPY post_imports (source, external_id, post_id) FROM STDIN"
_copy_votes = "COPY votes (post_id, user_id, date) FROM STDIN"


class Origin(NamedTuple):
    """Where a post comes from, and its number there."""

    source: str
    external_id: int


class NewPost(NamedTuple):
    """A post to load. Its author is known by then; each of the voters is named once."""

    origin: Origin
    owner_id: int
    title: str
    content: str
    date: datetime
    voters: Sequence[int]


async def take_turn(connection: AsyncConnection) -> None:
    """Wait until no other import is in a transaction; the turn ends with this one."""
    await connection.execute(_take_turn, {"lock": _ADVISORY_LOCK})


async def known(connection: AsyncConnection, *, origins: Iterable[Origin]) -> set[Origin]:
    """Those of the origins whose posts are there."""
    sources, external_ids = zip(*origins, strict=True)
    rows = await connection.execute(_known, {"sources": list(sources), "external_ids": list(external_ids)})
    return {Origin(row.source, row.external_id) for row in rows}


async def add(connection: AsyncConnection, *, posts: Sequence[NewPost]) -> None:
    """Write posts with their votes, and note in the ledger where they come from."""
    ids = (await connection.scalars(_next_ids, {"count": len(posts)})).all()
    numbered = list(zip(ids, posts, strict=True))
    async with _driver_cursor(connection) as cursor:
        await _copy(cursor, _copy_posts, (_post_row(post_id, post) for post_id, post in numbered))
        await _copy(cursor, _copy_ledger, ((*post.origin, post_id) for post_id, post in numbered))
        async with cursor.copy(_copy_votes) as copy:
            await copy.write("".join(_vote_lines(post_id, post) for post_id, post in numbered))


async def refresh_statistics(connection: AsyncConnection) -> None:
    """The planner learns the new data, and the search index takes in what was only queued for it.

    The connection is an AUTOCOMMIT one: VACUUM runs in no transaction.
    """
    # On a large database it takes longer than any request may, and it may wait for another import's.
    await connection.execute(text("SET statement_timeout = 0"))
    await connection.execute(text("SET lock_timeout = 0"))
    try:
        await connection.execute(text("VACUUM (ANALYZE) posts"))
        await connection.execute(text("ANALYZE authors, votes, post_imports"))
    finally:
        await connection.execute(text("RESET statement_timeout"))
        await connection.execute(text("RESET lock_timeout"))


@asynccontextmanager
async def _driver_cursor(connection: AsyncConnection) -> AsyncIterator[psycopg.AsyncCursor]:
    """SQLAlchemy knows no COPY: its driver's connection does, in the same transaction."""
    raw = await connection.get_raw_connection()
    async with cast("psycopg.AsyncConnection[Any]", raw.driver_connection).cursor() as cursor:
        yield cursor


def _post_row(post_id: int, post: NewPost) -> tuple[object, ...]:
    return post_id, post.owner_id, post.title, post.content, post.date, post.date, len(post.voters)


def _vote_lines(post_id: int, post: NewPost) -> str:
    """The votes of a post as COPY's text: numbers and a date need no escaping, and a million rows are quick."""
    after = f"\t{post.date.isoformat()}\n"
    return "".join(f"{post_id}\t{voter}{after}" for voter in sorted(post.voters))


async def _copy(cursor: psycopg.AsyncCursor, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
    async with cursor.copy(statement) as copy:
        for row in rows:
            await copy.write_row(row)
