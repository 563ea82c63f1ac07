"""The SQL of importing accounts: all are staged in a temporary table, judged there, and added from there.

So the memory of the process does not grow with the file, and what is judged is what is added: all in one transaction.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from kpi_shared.database import AnyRow
from kpi_shared.database.copying import copy_rows
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.accounts.fragments import STATE
from kpi_auth.events.fragments import put_from
from kpi_auth.events.models import EventType


class StagedAccount(NamedTuple):
    """A line of the input. With ``fallback`` the name was made from the address, which then identifies the account."""

    line: int
    username: str
    fallback: str | None
    email: str | None
    email_signs_in: bool
    verified_at: datetime | None
    password_hash: str | None
    role: str
    created_at: datetime
    # Digests of what says which account it is, the current one first: by them a later import knows it again.
    keys: list[bytes]


class Problem(NamedTuple):
    """Why the account of a line cannot be added."""

    line: int
    text: str


# Any number that no other advisory lock of this database has.
_LOCK = 7_352_067
_take_turn = text("SELECT pg_try_advisory_xact_lock(:lock)")
# The bounds are those of requests: a file takes longer, and its caller may be slow to send it.
_PREPARE = (
    "SET LOCAL statement_timeout = 0",
    "SET LOCAL idle_in_transaction_session_timeout = 0",
    """
    CREATE TEMPORARY TABLE staged_accounts (
        line bigint NOT NULL, username text NOT NULL, fallback text, email text, email_signs_in boolean NOT NULL,
        verified_at timestamptz, password_hash text, role text NOT NULL, created_at timestamptz NOT NULL,
        keys bytea[] NOT NULL, known_id bigint, problem text,
        is_open boolean NOT NULL GENERATED ALWAYS AS (problem IS NULL AND known_id IS NULL) STORED
    ) ON COMMIT DROP
    """,
)
_COPY = f"COPY staged_accounts ({', '.join(StagedAccount._fields)}) FROM STDIN"
_INDEX = (
    "CREATE INDEX ON staged_accounts (lower(username), line)",
    "CREATE INDEX ON staged_accounts (email, line)",
    "CREATE UNIQUE INDEX ON staged_accounts (line)",
    "ANALYZE staged_accounts",
)
# A given name comes before one that was made of an address, and of those the first line. Each name is looked up once:
# in a file of info@ addresses all lines have the same.
_IS_MADE_NAME_TAKEN = """
    FROM (
        SELECT lower(each.username) AS name, min(line) AS first, bool_or(fallback IS NULL) AS is_given,
            bool_or(users.id IS NOT NULL) AS is_taken
        FROM staged_accounts AS each LEFT JOIN users ON lower(users.username) = lower(each.username)
        GROUP BY lower(each.username)
    ) AS same
    WHERE staged.fallback IS NOT NULL AND staged.is_open AND lower(staged.username) = same.name
        AND (same.is_taken OR same.is_given OR staged.line > same.first)
"""
# In this order: what is wrong with the file alone does not depend on what was imported before.
_JUDGE = (
    """
    UPDATE staged_accounts AS staged SET problem = 'email: line ' || earlier.line || ' has the same address'
    FROM (SELECT email, min(line) AS line FROM staged_accounts GROUP BY email HAVING count(*) > 1) AS earlier
    WHERE staged.email = earlier.email AND staged.line > earlier.line
    """,
    """
    UPDATE staged_accounts AS staged SET problem = 'username: line ' || earlier.line || ' has the same name'
    FROM (
        SELECT lower(username) AS name, min(line) AS line FROM staged_accounts
        WHERE fallback IS NULL GROUP BY 1 HAVING count(*) > 1
    ) AS earlier
    WHERE staged.fallback IS NULL AND lower(staged.username) = earlier.name AND staged.line > earlier.line
        AND staged.problem IS NULL
    """,
    # Its owner may have changed the name and the address since it was imported.
    """
    UPDATE staged_accounts AS staged SET known_id = imported.user_id
    FROM (SELECT line, unnest(keys) AS key FROM staged_accounts) AS given JOIN account_imports AS imported USING (key)
    WHERE staged.line = given.line AND staged.is_open
    """,
    # Another account that has registered with the address and not verified it may belong to someone else.
    """
    UPDATE staged_accounts AS staged SET known_id = users.id
    FROM users WHERE staged.fallback IS NOT NULL AND users.email = staged.email AND staged.is_open
        AND users.email_verified_at IS NOT NULL
    """,
    """
    UPDATE staged_accounts AS staged SET problem = 'email: an account here has this address and has not verified it'
    FROM users WHERE staged.fallback IS NOT NULL AND users.email = staged.email AND staged.is_open
        AND staged.verified_at IS NULL
    """,
    """
    UPDATE staged_accounts AS staged SET
        known_id = CASE WHEN users.email IS NOT DISTINCT FROM staged.email
            AND (users.email IS NULL OR users.email_verified_at IS NOT NULL) THEN users.id END,
        problem = CASE
            WHEN users.email IS DISTINCT FROM staged.email
                THEN 'username: an account with this name has another e-mail address, or none'
            WHEN users.email_verified_at IS NULL AND users.email IS NOT NULL
                THEN 'username: the account with this name has not verified the address'
        END
    FROM users WHERE staged.fallback IS NULL AND lower(users.username) = lower(staged.username) AND staged.is_open
    """,
    f"UPDATE staged_accounts AS staged SET username = fallback {_IS_MADE_NAME_TAKEN}",  # noqa: S608 our own text
    f"""
    UPDATE staged_accounts AS staged SET problem = 'username: the name that was made from the address is taken'
    {_IS_MADE_NAME_TAKEN}
    """,  # noqa: S608 as above
    """
    UPDATE staged_accounts AS staged SET problem = 'email: another account has this address'
    FROM users WHERE users.email = staged.email AND users.email_signs_in AND staged.is_open
    """,
)
_get_problems = text("SELECT line, problem FROM staged_accounts WHERE problem IS NOT NULL ORDER BY line LIMIT :most")
_count = text("""
    SELECT
        count(*) FILTER (WHERE is_open) AS new,
        count(known_id) AS known,
        count(problem) AS refused,
        count(*) FILTER (WHERE is_open AND password_hash IS NULL) AS without_password
    FROM staged_accounts
""")
_find_end = text("""
    SELECT max(line) FROM (
        SELECT line FROM staged_accounts WHERE is_open AND line > :after ORDER BY line LIMIT :most
    ) AS batch
""")
# An id is used up for no account that exists: none of those is new.
_add = text(f"""
    WITH added AS (
        INSERT INTO users (username, email, email_signs_in, email_verified_at, password_hash, role, created_at)
        SELECT username, email, email_signs_in, verified_at, password_hash, role, created_at
        FROM staged_accounts WHERE is_open AND line > :after AND line <= :last ORDER BY line
        ON CONFLICT DO NOTHING
        RETURNING *
    ), told AS ({put_from("added", EventType.ACCOUNT_CREATED, account="id", data=STATE)}
    ), remembered AS (
        INSERT INTO account_imports (key, user_id)
        SELECT staged.keys[1], added.id
        FROM added JOIN staged_accounts AS staged ON lower(staged.username) = lower(added.username)
        WHERE staged.is_open AND cardinality(staged.keys) > 0
        ON CONFLICT DO NOTHING
    )
    SELECT id, role FROM added
""")  # noqa: S608 our own text
_remember_known = text("""
    INSERT INTO account_imports (key, user_id)
    SELECT keys[1], known_id FROM staged_accounts WHERE known_id IS NOT NULL AND cardinality(keys) > 0
    ON CONFLICT DO NOTHING
""")


async def prepare(connection: AsyncConnection) -> None:
    """Make the temporary table, which ends with the transaction, and lift the time limits of the transaction."""
    await _run_all(connection, _PREPARE)


async def take_turn(connection: AsyncConnection) -> bool:
    """False while another import is in a transaction; else none begins before the end of this one."""
    return bool(await connection.scalar(_take_turn, {"lock": _LOCK}))


async def stage(connection: AsyncConnection, accounts: Iterable[StagedAccount]) -> None:
    await copy_rows(connection, _COPY, accounts)


async def judge(connection: AsyncConnection) -> AnyRow:
    """Find out how many staged accounts are new, known and refused, and how many new ones have no password."""
    await _run_all(connection, _INDEX)
    await _run_all(connection, _JUDGE)
    return (await connection.execute(_count)).one()


async def get_problems(connection: AsyncConnection, *, most: int) -> list[Problem]:
    """The first problems, in the order of the lines."""
    return [Problem(*row) for row in await connection.execute(_get_problems, {"most": most})]


async def find_end(connection: AsyncConnection, *, after: int, most: int) -> int | None:
    """The line at which a batch of new accounts ends that begins after ``after``; None if there are no more."""
    end: int | None = await connection.scalar(_find_end, {"after": after, "most": most})
    return end


async def add_staged(connection: AsyncConnection, *, after: int, last: int) -> list[AnyRow]:
    """Add the new accounts of the lines after ``after``, up to ``last``, and their events; returns ids and roles."""
    return list((await connection.execute(_add, {"after": after, "last": last})).all())


async def remember_known(connection: AsyncConnection) -> None:
    """Let later imports know the accounts again that were here before."""
    await connection.execute(_remember_known)


async def _run_all(connection: AsyncConnection, statements: Iterable[str]) -> None:
    for statement in statements:
        await connection.execute(text(statement))
