"""The SQL of sessions. Statements are built once; each call only binds its values."""

from collections.abc import Sequence
from datetime import timedelta

from kpi_shared.database import AnyRow
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.accounts.fragments import ACCOUNT_VERSION, IS_OPEN, LOCK_OPEN, NOTICE_EMAIL, OF_USER_ID, TABLE
from kpi_auth.accounts.models import Account
from kpi_auth.audit.models import Event
from kpi_auth.audit.repository import RECORD
from kpi_auth.events.fragments import put_from
from kpi_auth.events.models import EventType
from kpi_auth.origin import Origin
from kpi_auth.sessions.models import EndReason
from kpi_auth.settings.lifetimes import Lifetimes

# In one statement, and so in one transaction: lock the user, provided that nothing has changed since the password was
# verified, add the session, and record it.
_add = text(f"""
    WITH locked AS (
        {LOCK_OPEN}
    ), added AS (
        INSERT INTO sessions (user_id, secret, address, user_agent)
        SELECT id, :secret, CAST(:address AS text), CAST(:user_agent AS text) FROM locked
        RETURNING id, user_id
    ), recorded AS (
        {RECORD}
        SELECT :event, user_id, user_id, :address, :user_agent, :request_id,
            jsonb_build_object('session_id', id, 'by', CAST(:by AS text))
        FROM added
    )
    SELECT added.id, username, role, account_version FROM added JOIN locked ON locked.id = user_id
""")  # noqa: S608 our own text


def _put_ended(source: str, *, account: str, reason: str) -> str:
    """The event of each session of ``source``."""
    data = f"jsonb_build_object('session_id', id, 'reason', {reason})"
    return put_from(source, EventType.SESSION_ENDED, account=account, data=data)


def _put_all_ended(source: str, *, account: str, reason: str) -> str:
    """One event for all sessions of ``source``, if there are any."""
    data = f"jsonb_build_object('session_ids', jsonb_agg(id ORDER BY id), 'reason', {reason})"
    return put_from(f"{source} HAVING count(*) > 0", EventType.SESSIONS_ENDED, account=account, data=data)


# A separate statement, so that it sees sessions that other transactions have added in the meantime.
END_OLDEST = f"""
    ending AS (
        SELECT id FROM sessions WHERE ended_at IS NULL AND id IN (
            SELECT id FROM sessions
            WHERE user_id = :user_id AND ended_at IS NULL AND used_at > now() - :idle AND created_at > now() - :absolute
            ORDER BY id DESC OFFSET :most
        )
        ORDER BY id FOR NO KEY UPDATE
    ), ended AS (
        UPDATE sessions SET ended_at = now(), end_reason = 'limit' FROM ending WHERE sessions.id = ending.id
        RETURNING sessions.id
    ), put AS (
        {_put_ended("ended", account="CAST(:user_id AS bigint)", reason="'limit'")}
    )
    {RECORD}
    SELECT :event, NULL, :user_id, :address, :user_agent, :request_id,
        jsonb_build_object('reason', 'limit', 'session_ids', array_agg(id))
    FROM ended HAVING count(*) > 0
"""  # noqa: S608 our own text
_end_oldest = text(f"WITH {END_OLDEST}")
_get_key = text(f"""
    SELECT sessions.id, user_id, secret, username, role, {ACCOUNT_VERSION},
        extract(epoch FROM sessions.created_at + :absolute - now()) AS seconds_left, counter
    FROM sessions JOIN {TABLE} ON {OF_USER_ID}
    WHERE sessions.id = :id
""")  # noqa: S608 our own text
# Every ending of a session updates its row, so this waits for it, checks the conditions again, and finds it ended.
_advance = text(f"""
    UPDATE sessions SET
        counter = counter + 1, used_at = now(), used_before = used_at, address = :address, user_agent = :user_agent,
        suspicion = CASE WHEN repeat_suspicion <> 0 THEN suspicion + greatest(repeat_suspicion, 0) ELSE 0 END,
        repeat_suspicion = 0
    FROM {TABLE}
    WHERE sessions.id = :id AND counter = :counter AND ended_at IS NULL
        AND used_at > now() - :idle AND sessions.created_at > now() - :absolute
        AND {OF_USER_ID} AND {IS_OPEN}
    RETURNING sessions.id
""")  # noqa: S608 our own text
_lock = text(f"""
    SELECT sessions.id, user_id, counter, secret, username, role, {ACCOUNT_VERSION}, ended_at, address, user_agent,
        suspicion, {NOTICE_EMAIL} AS notice_email, {IS_OPEN} AS is_open,
        used_at <= now() - :idle OR sessions.created_at <= now() - :absolute AS is_expired,
        used_at > now() - :grace AS is_fresh, extract(epoch FROM statement_timestamp() - used_at) AS seconds_since_use,
        used_at < coalesce(used_before, sessions.created_at) + :access / 2 AS is_hurried,
        extract(epoch FROM sessions.created_at + :absolute - now()) AS seconds_left
    FROM sessions JOIN {TABLE} ON {OF_USER_ID}
    WHERE sessions.id = :id
    FOR NO KEY UPDATE OF sessions
""")  # noqa: S608 our own text
_add_suspicion = text("""
    UPDATE sessions SET repeat_suspicion = CASE
        WHEN repeat_suspicion = 0 THEN :suspicion ELSE greatest(repeat_suspicion, :suspicion) END
    WHERE id = :id
    RETURNING suspicion + greatest(repeat_suspicion, 0) AS suspicion
""")
_get_subject = text(f"""
    SELECT username, role FROM sessions JOIN {TABLE} ON {OF_USER_ID}
    WHERE sessions.id = :id AND user_id = :user_id AND ended_at IS NULL AND {IS_OPEN}
""")  # noqa: S608 our own text
_list_active = text("""
    SELECT id, created_at, used_at AS last_used_at, address, user_agent,
        least(used_at + :idle, created_at + :absolute) AS expires_at, id = :current AS is_current
    FROM sessions
    WHERE user_id = :user_id AND ended_at IS NULL AND used_at > now() - :idle AND created_at > now() - :absolute
    ORDER BY id DESC
""")
# Tokens of an expired session have expired too.
_end = text(f"""
    WITH ended AS (
        UPDATE sessions SET ended_at = now(), end_reason = :reason
        WHERE id = :id AND user_id = :user_id AND ended_at IS NULL
        RETURNING id, user_id, end_reason
    ), put AS (
        {_put_ended("ended WHERE end_reason <> 'expired'", account="user_id", reason="end_reason")}
    )
    SELECT id FROM ended
""")  # noqa: S608 as above
# Locked in the same order everywhere, so that two statements that end several sessions cannot deadlock.
_end_all = text(f"""
    WITH ending AS (
        SELECT id FROM sessions
        WHERE user_id = :user_id AND ended_at IS NULL AND id IS DISTINCT FROM CAST(:spared AS bigint)
        ORDER BY id FOR NO KEY UPDATE
    ), ended AS (
        UPDATE sessions SET ended_at = now(), end_reason = :reason FROM ending WHERE sessions.id = ending.id
        RETURNING sessions.id
    ), put AS (
        {_put_all_ended("ended", account="CAST(:user_id AS bigint)", reason="CAST(:reason AS text)")}
    )
    SELECT id FROM ended
""")  # noqa: S608 as above
_forget_old = text("""
    DELETE FROM sessions WHERE id IN (
        SELECT id FROM sessions
        WHERE ended_at < now() - :kept
            OR used_at < now() - :kept - :idle
            OR created_at < now() - :kept - :absolute
        LIMIT :most FOR UPDATE SKIP LOCKED
    )
""")

Rows = Sequence[AnyRow]


async def add(
    connection: AsyncConnection, *, account: Account, secret: bytes, by: str, origin: Origin
) -> AnyRow | None:
    """Add a session and its audit record, with ``by`` as the way of signing in.

    Returns its id and the user's current name and role; None if the account was closed in the meantime or, with a hash,
    if the password has changed since it was verified.
    """
    values = {"user_id": account.id, "password_hash": account.password_hash, "secret": secret, "by": by}
    values["event"] = Event.SIGNED_IN.value
    return (await connection.execute(_add, {**values, **origin.columns})).one_or_none()


async def end_oldest(
    connection: AsyncConnection, *, user_id: int, most: int, lifetimes: Lifetimes, origin: Origin
) -> None:
    """End and record the user's oldest sessions beyond ``most``."""
    values = {"user_id": user_id, "most": most, "idle": lifetimes.idle, "absolute": lifetimes.absolute}
    await connection.execute(_end_oldest, {**values, "event": Event.SIGNED_OUT.value, **origin.columns})


async def get_key(connection: AsyncConnection, *, session_id: int, lifetimes: Lifetimes) -> AnyRow | None:
    """The session's user and the secret of its refresh tokens, also if the session has ended."""
    values = {"id": session_id, "absolute": lifetimes.absolute}
    return (await connection.execute(_get_key, values)).one_or_none()


async def advance(
    connection: AsyncConnection, *, session_id: int, counter: int, lifetimes: Lifetimes, origin: Origin
) -> bool:
    """Increment the counter; False unless the session is active and the counter equals ``counter``."""
    values = {"id": session_id, "counter": counter, "idle": lifetimes.idle, "absolute": lifetimes.absolute}
    return (await connection.execute(_advance, {**values, **origin.columns})).one_or_none() is not None


async def lock(connection: AsyncConnection, *, session_id: int, lifetimes: Lifetimes) -> AnyRow | None:
    """The current state of the session, locked until the transaction ends."""
    values = {"id": session_id, "idle": lifetimes.idle, "absolute": lifetimes.absolute}
    values |= {"grace": lifetimes.grace, "access": lifetimes.access}
    return (await connection.execute(_lock, values)).one_or_none()


async def add_suspicion(connection: AsyncConnection, *, session_id: int, suspicion: int) -> int:
    """Store how suspicious a repeat was; returns the sum over the consecutive refreshes that were repeated."""
    return int((await connection.execute(_add_suspicion, {"id": session_id, "suspicion": suspicion})).scalar_one())


async def get_subject(connection: AsyncConnection, *, session_id: int, user_id: int) -> AnyRow | None:
    """The user's current name and role; None if the session has ended or the account is closed."""
    return (await connection.execute(_get_subject, {"id": session_id, "user_id": user_id})).one_or_none()


async def list_active(connection: AsyncConnection, *, user_id: int, current: int, lifetimes: Lifetimes) -> Rows:
    """The user's sessions that can still be refreshed, newest first; ``current`` marks the caller's."""
    values = {"user_id": user_id, "current": current, "idle": lifetimes.idle, "absolute": lifetimes.absolute}
    return (await connection.execute(_list_active, values)).all()


async def end(connection: AsyncConnection, *, user_id: int, session_id: int, reason: EndReason) -> bool:
    """End one session of the user; False if it is not theirs or has already ended."""
    values = {"id": session_id, "user_id": user_id, "reason": reason.value}
    return (await connection.execute(_end, values)).one_or_none() is not None


async def end_all(
    connection: AsyncConnection, *, user_id: int, reason: EndReason, spared: int | None = None
) -> list[int]:
    """End all of the user's sessions except ``spared``; returns the ids of those that ended."""
    values = {"user_id": user_id, "reason": reason.value, "spared": spared}
    return list((await connection.execute(_end_all, values)).scalars())


async def forget_old(connection: AsyncConnection, *, lifetimes: Lifetimes, kept: timedelta, most: int) -> int:
    """Delete sessions that ended, or could no longer be refreshed, longer ago than ``kept``; returns how many."""
    values = {"kept": kept, "idle": lifetimes.idle, "absolute": lifetimes.absolute, "most": most}
    return (await connection.execute(_forget_old, values)).rowcount
