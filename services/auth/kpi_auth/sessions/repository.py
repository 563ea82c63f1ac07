"""The SQL of sessions. Statements are built once; each call only binds its values."""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from kpi_shared.database import AnyRow
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.sessions.models import EndReason

# The statement does not see the row that it adds, so one less of those before may stay.
_add = text("""
    WITH ended AS (
        UPDATE sessions SET ended_at = now(), end_reason = 'limit' WHERE id IN (
            SELECT id FROM sessions
            WHERE user_id = :user_id AND ended_at IS NULL AND used_at > now() - :idle AND created_at > now() - :absolute
            ORDER BY id DESC OFFSET :most - 1
        )
        RETURNING id
    )
    INSERT INTO sessions (user_id, secret, address, user_agent) VALUES (:user_id, :secret, :address, :user_agent)
    RETURNING id, ARRAY(SELECT id FROM ended) AS ended
""")
_key_of = text("SELECT user_id, secret FROM sessions WHERE id = :id")
# Whatever ends a session changes its row, so this waits for it, looks at the conditions again, and finds it ended.
_move = text("""
    UPDATE sessions SET counter = counter + 1, used_at = now(), address = :address, user_agent = :user_agent
    FROM users
    WHERE sessions.id = :id AND counter = :counter AND ended_at IS NULL
        AND used_at > now() - :idle AND sessions.created_at > now() - :absolute
        AND users.id = sessions.user_id AND users.is_active AND users.deleted_at IS NULL
    RETURNING sessions.id, user_id, counter, secret, username, role,
        extract(epoch FROM sessions.created_at + :absolute - now()) AS seconds_left
""")
_lock = text("""
    SELECT sessions.id, user_id, counter, secret, username, role, ended_at,
        CASE WHEN email_signs_in THEN email END AS email,
        users.is_active AND users.deleted_at IS NULL AS is_open,
        used_at <= now() - :idle OR sessions.created_at <= now() - :absolute AS is_expired,
        used_at >= now() - :grace AS is_fresh,
        extract(epoch FROM sessions.created_at + :absolute - now()) AS seconds_left
    FROM sessions JOIN users ON users.id = user_id
    WHERE sessions.id = :id
    FOR NO KEY UPDATE OF sessions
""")
_subject = text("""
    SELECT username, role FROM sessions JOIN users ON users.id = user_id
    WHERE sessions.id = :id AND user_id = :user_id AND ended_at IS NULL
        AND users.is_active AND users.deleted_at IS NULL
""")
_living = text("""
    SELECT id, created_at, used_at AS last_used_at, address, user_agent,
        least(used_at + :idle, created_at + :absolute) AS expires_at, id = :current AS is_current
    FROM sessions
    WHERE user_id = :user_id AND ended_at IS NULL AND used_at > now() - :idle AND created_at > now() - :absolute
    ORDER BY id DESC
""")
_end = text("""
    UPDATE sessions SET ended_at = now(), end_reason = :reason
    WHERE id = :id AND user_id = :user_id AND ended_at IS NULL
    RETURNING id
""")
_end_all = text("""
    UPDATE sessions SET ended_at = now(), end_reason = :reason
    WHERE user_id = :user_id AND ended_at IS NULL AND id IS DISTINCT FROM CAST(:spared AS bigint)
    RETURNING id
""")

Rows = Sequence[AnyRow]


class Lifetimes(NamedTuple):
    """How long a session lives unused and in all, and how long its last refresh token may come again."""

    idle: timedelta
    absolute: timedelta
    grace: timedelta


class Added(NamedTuple):
    """A new session's id, and those that ended to make room for it."""

    id: int
    ended: list[int]


class Client(NamedTuple):
    """What a session shows of who uses it."""

    address: str | None
    user_agent: str | None


async def add(
    connection: AsyncConnection, *, user_id: int, secret: bytes, most: int, lifetimes: Lifetimes, client: Client
) -> Added:
    """Add a session, and end the user's oldest so that no more than ``most`` live.

    The caller holds the user's row, so that no two count at once.
    """
    values = {"user_id": user_id, "secret": secret, "most": most, "idle": lifetimes.idle}
    values |= {"absolute": lifetimes.absolute, **client._asdict()}
    row = (await connection.execute(_add, values)).one()
    return Added(row.id, row.ended)


async def key_of(connection: AsyncConnection, *, session_id: int) -> AnyRow | None:
    """Whose session it is, and the secret of its refresh tokens; also of one that has ended."""
    return (await connection.execute(_key_of, {"id": session_id})).one_or_none()


async def move(
    connection: AsyncConnection, *, session_id: int, counter: int, lifetimes: Lifetimes, client: Client
) -> AnyRow | None:
    """Move the counter on from ``counter``; None unless the session lives and is there."""
    values = {"id": session_id, "counter": counter, "idle": lifetimes.idle, "absolute": lifetimes.absolute}
    return (await connection.execute(_move, {**values, **client._asdict()})).one_or_none()


async def lock(connection: AsyncConnection, *, session_id: int, lifetimes: Lifetimes) -> AnyRow | None:
    """The session as it is now, held until the transaction ends."""
    return (await connection.execute(_lock, {"id": session_id, **lifetimes._asdict()})).one_or_none()


async def subject(connection: AsyncConnection, *, session_id: int, user_id: int) -> AnyRow | None:
    """Name and role of the user as they are now; None where the session has ended or the account is closed."""
    return (await connection.execute(_subject, {"id": session_id, "user_id": user_id})).one_or_none()


async def living(connection: AsyncConnection, *, user_id: int, current: int, lifetimes: Lifetimes) -> Rows:
    """The user's sessions that can still be refreshed, the newest first; one of them may be the caller's."""
    values = {"user_id": user_id, "current": current, "idle": lifetimes.idle, "absolute": lifetimes.absolute}
    return (await connection.execute(_living, values)).all()


async def end(connection: AsyncConnection, *, user_id: int, session_id: int, reason: EndReason) -> bool:
    """End one session of the user; False where it is not theirs or has ended already."""
    values = {"id": session_id, "user_id": user_id, "reason": reason.value}
    return (await connection.execute(_end, values)).one_or_none() is not None


async def end_all(
    connection: AsyncConnection, *, user_id: int, reason: EndReason, spared: int | None = None
) -> list[int]:
    """End the user's sessions, all but ``spared``, and return the ids of those that ended."""
    values = {"user_id": user_id, "reason": reason.value, "spared": spared}
    return list((await connection.execute(_end_all, values)).scalars())
