"""The SQL of signing in with a password, in few round trips: while others hash, each of them costs what a hash leaves.

Two processes wake up for each, on cores whose caches the hashing has just used up. So what needs no order of its own
goes together: an attempt is counted and the account looked up in one statement, and taken back in the one that ends the
oldest sessions.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from kpi_shared.caller import Role
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.attempts.repository import Added, adding, removing, to_add, to_remove
from kpi_auth.attempts.service import Admission
from kpi_auth.audit.models import Event
from kpi_auth.audit.origin import Origin
from kpi_auth.sessions.repository import END_OLDEST, Lifetimes
from kpi_auth.users.models import Account


async def look_up(connection: AsyncConnection, *, limits: Sequence[Any], login: str) -> tuple[Added, Account | None]:
    """Count an attempt under each limit, and find the account that it is for."""
    row = (await connection.execute(_look_up(len(limits)), {**to_add(limits), "login": login})).one()
    account = None
    if row.id is not None:
        account = Account(row.id, row.username, Role(row.role), row.password_hash, row.may_sign_in)
    return Added(row.keys, row.moment), account


async def settle(
    connection: AsyncConnection,
    admission: Admission,
    *,
    user_id: int,
    most: int,
    lifetimes: Lifetimes,
    origin: Origin,
) -> None:
    """Take the attempt back, and end, and record, the user's oldest sessions beyond ``most``."""
    values = {"user_id": user_id, "most": most, "idle": lifetimes.idle, "absolute": lifetimes.absolute}
    values |= {"event": Event.SIGNED_OUT.value, **origin.columns, **to_remove(admission.keys, admission.moment)}
    await connection.execute(_settle(len(admission.keys)), values)


@cache
def _look_up(keys: int) -> TextClause:
    steps, columns = adding(keys)
    # A username holds no @, so that at most one account fits.
    return text(f"""
        WITH {steps}
        SELECT {columns}, id, username, role, password_hash, is_active AND deleted_at IS NULL AS may_sign_in
        FROM (SELECT) AS attempt LEFT JOIN users ON lower(username) = :login OR (email = :login AND email_signs_in)
    """)  # noqa: S608 our own text


@cache
def _settle(keys: int) -> TextClause:
    return text(f"WITH {removing(keys)}, {END_OLDEST}")
