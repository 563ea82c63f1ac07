"""The SQL of authors."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kpi_shared.records.shown_repository import AccountField
from sqlalchemy import (
    CTE,
    ColumnElement,
    Select,
    SQLColumnExpression,
    and_,
    bindparam,
    false,
    func,
    or_,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from kpi_content.authors.models import Author

_remember_all = text("""
    INSERT INTO authors AS known (id, username)
    SELECT id, username FROM unnest(CAST(:ids AS bigint[]), CAST(:usernames AS text[])) AS given (id, username)
    -- What the account says itself is better, and an unchanged name writes no new row version.
    ON CONFLICT (id) DO UPDATE SET username = excluded.username
    WHERE known.version = 0 AND known.username <> excluded.username
""")
# In the order of the ids, so that two processes which write the same accounts cannot wait for each other.
_project = text("""
    INSERT INTO authors AS known (id, username, version, is_deleted)
    SELECT id, username, version, username IS NULL
    FROM unnest(CAST(:ids AS bigint[]), CAST(:usernames AS text[]), CAST(:versions AS bigint[]))
        AS given (id, username, version)
    ORDER BY id
    ON CONFLICT (id) DO UPDATE
    SET username = excluded.username, version = excluded.version, is_deleted = excluded.is_deleted
    WHERE known.version < excluded.version
""")
_find_by_name = text("SELECT id FROM authors WHERE lower(username) = lower(:username) LIMIT 2")
_BATCH = 5_000
_find_batch_end = text("""
    SELECT max(id) FROM (SELECT id FROM authors WHERE id > :after ORDER BY id LIMIT :most) AS batch
""")
_IN_BATCH = "id > :after AND id <= :upto"
_mark = text(f"UPDATE authors SET version = -1 - version WHERE version >= 0 AND {_IN_BATCH}")  # noqa: S608 our own text
_unmark = text(f"UPDATE authors SET version = -1 - version WHERE version < 0 AND {_IN_BATCH}")  # noqa: S608 as above
# The columns of all tables that refer to an author, those of further nouns included.
_find_references = text("""
    SELECT CAST(CAST(conrelid AS regclass) AS text), quote_ident(attname)
    FROM pg_constraint JOIN pg_attribute ON attrelid = conrelid AND attnum = conkey[1]
    WHERE contype = 'f' AND confrelid = CAST('authors' AS regclass)
""")


class Batch(NamedTuple):
    """The authors with ids above ``after``, up to ``upto``."""

    after: int
    upto: int


class Account(NamedTuple):
    """An account as auth describes it; ``username`` is None for a deleted one."""

    id: int
    username: str | None
    version: int


# For statements on other tables, which get their author's name by ``join_author``. It is NULL for a deleted account.
author_name = col(Author.username)
is_not_deleted = col(Author.username).is_not(None)


def join_author(statement: Select[*tuple[Any, ...]], owner_id: SQLColumnExpression[int]) -> Select[*tuple[Any, ...]]:
    """Join the author whose id is ``owner_id``."""
    return statement.join(Author, col(Author.id) == owner_id)


def join_author_or_none(
    statement: Select[*tuple[Any, ...]], owner_id: SQLColumnExpression[int]
) -> Select[*tuple[Any, ...]]:
    """As ``join_author``, for ids that may have no row here any more: their name is NULL, too."""
    return statement.outerjoin(Author, col(Author.id) == owner_id)


def keep_author(statement: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    """Lock the joined authors that it finds: their accounts are not deleted before the transaction ends."""
    return statement.with_for_update(read=True, of=Author)


def has_account(owner_id: SQLColumnExpression[int]) -> ColumnElement[bool]:
    """Whether the author is not deleted, for a statement that need not join it."""
    account = Author.__table__.alias("account")  # type: ignore[attr-defined]
    found = select(account.c.id).where(account.c.id == owner_id, account.c.username.is_not(None))
    return found.exists()


def remember_author() -> CTE:
    """Add the author, or update the row, as a part of a statement with ``owner_id``, ``username`` and ``version``.

    A token of a deleted account is older than its deletion.
    """
    given = insert(Author).values(
        id=bindparam("owner_id"), username=bindparam("username"), version=bindparam("version"), is_deleted=false()
    )
    is_newer = col(Author.version) < given.excluded.version
    # Neither of the two names has a version: the later one is taken.
    is_later = and_(col(Author.version) == 0, col(Author.username) != given.excluded.username)
    known = given.on_conflict_do_update(
        index_elements=[col(Author.id)],
        set_={name: given.excluded[name] for name in ("username", "version", "is_deleted")},
        where=or_(is_newer, is_later),
    )
    return known.returning(col(Author.id)).cte("known")


# For nouns with plain rows, which show the author as ``owner``.
OWNER = AccountField("owner", author_name, join_author, remember_author)


async def exists(connection: AsyncConnection, *, author_id: int) -> bool:
    """Whether it is the id of an account that is known and not deleted."""
    found = select(col(Author.id)).where(col(Author.id) == author_id, is_not_deleted)
    return await connection.scalar(found) is not None


async def find_by_name(connection: AsyncConnection, *, username: str) -> int | None:
    """The account of that name; None if there is none or, while names move between accounts, more than one."""
    found = (await connection.scalars(_find_by_name, {"username": username})).all()
    return found[0] if len(found) == 1 else None


async def find_names(connection: AsyncConnection, *, most: int) -> dict[int, str]:
    """The names of the newest accounts that are not deleted, by id."""
    newest = select(col(Author.id), col(Author.username)).where(is_not_deleted).order_by(col(Author.id).desc())
    return {row.id: row.username for row in await connection.execute(newest.limit(most))}


async def remember_all(connection: AsyncConnection, *, usernames: Mapping[int, str]) -> None:
    """Add or update many authors, in a statement of its own; ``usernames`` are keyed by user id."""
    await connection.execute(_remember_all, {"ids": list(usernames), "usernames": list(usernames.values())})


async def project(connection: AsyncConnection, *, accounts: Sequence[Account]) -> None:
    """Write accounts, each of which is given once; a lower version than the known one changes nothing."""
    ids, usernames, versions = zip(*accounts, strict=True)
    await connection.execute(_project, {"ids": list(ids), "usernames": list(usernames), "versions": list(versions)})


async def find_batch(connection: AsyncConnection, *, after: int) -> Batch | None:
    """The next authors by id, few enough for one short transaction; None if there are no more."""
    upto = await connection.scalar(_find_batch_end, {"after": after, "most": _BATCH})
    return None if upto is None else Batch(after, upto)


async def mark(connection: AsyncConnection, batch: Batch) -> None:
    """Before all accounts are projected anew: any version replaces a marked row, which is shown meanwhile."""
    await connection.execute(_mark, batch._asdict())


async def settle(connection: AsyncConnection, batch: Batch) -> None:
    """After it: auth does not know what is still marked. What other rows refer to stays as it was, the rest goes."""
    references = await connection.execute(_find_references)
    needed = "".join(f" OR EXISTS (SELECT FROM {table} WHERE {column} = authors.id)" for table, column in references)
    unneeded = text(f"DELETE FROM authors WHERE version < 0 AND {_IN_BATCH} AND NOT (false{needed})")  # noqa: S608 quoted names
    await connection.execute(unneeded, batch._asdict())
    await connection.execute(_unmark, batch._asdict())


async def count(connection: AsyncConnection) -> int:
    return (await connection.execute(select(func.count()).select_from(Author))).scalar_one()
