"""The SQL of signing in with a password, in few round trips, which are expensive while other requests hash.

Each wakes two processes, on cores whose caches the hashing has filled. So steps that do not depend on each other share
a statement: one counts the attempt and looks up the account; another forgives the attempt and ends the oldest sessions.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from kpi_shared.caller import Role
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.accounts.fragments import OF_LOGIN, SIGN_IN_COLUMNS, TABLE
from kpi_auth.accounts.models import Account
from kpi_auth.attempts.models import Added, Admission, Limit
from kpi_auth.attempts.repository import (
    IS_FAMILIAR,
    array_of,
    steps_to_add,
    steps_to_forgive,
    values_to_add,
    values_to_remember,
    values_to_remove,
)
from kpi_auth.audit.models import Event
from kpi_auth.origin import Origin
from kpi_auth.sessions.repository import END_OLDEST
from kpi_auth.settings.lifetimes import Lifetimes


class Found(NamedTuple):
    """How the attempt was counted, the account it is for, and whether that has been entered from this address."""

    added: Added
    account: Account | None
    is_familiar: bool


async def look_up(
    connection: AsyncConnection, *, limits: Sequence[Limit], familiar: Sequence[bytes], login: str
) -> Found:
    """Count an attempt under each limit, and find the account that it is for."""
    values = {**values_to_add(limits), "familiar": array_of(familiar), "login": login}
    row = (await connection.execute(_look_up(len(limits)), values)).one()
    account = None
    if row.id is not None:
        role = Role(row.role)
        account = Account(row.id, row.username, role, row.password_hash, row.may_sign_in, row.account_version)
    return Found(Added(row.keys, row.moment), account, row.is_familiar)


async def settle(
    connection: AsyncConnection,
    admission: Admission,
    *,
    user_id: int,
    most: int,
    lifetimes: Lifetimes,
    origin: Origin,
) -> None:
    """Forgive the attempt, remember its address, and end and record the user's oldest sessions beyond ``most``."""
    values = {"user_id": user_id, "most": most, "idle": lifetimes.idle, "absolute": lifetimes.absolute}
    values |= values_to_remember(admission.familiar, lifetimes.idle)
    values |= {"event": Event.SIGNED_OUT.value, **origin.columns, **values_to_remove(admission.keys, admission.moment)}
    await connection.execute(_settle(len(admission.keys)), values)


@cache
def _look_up(keys: int) -> TextClause:
    steps, columns = steps_to_add(keys)
    return text(f"""
        WITH {steps} SELECT {columns}, {IS_FAMILIAR}, {SIGN_IN_COLUMNS}
        FROM (SELECT) AS attempt LEFT JOIN {TABLE} ON {OF_LOGIN}
    """)  # noqa: S608 our own text


@cache
def _settle(keys: int) -> TextClause:
    return text(f"WITH {steps_to_forgive(keys)}, {END_OLDEST}")
