"""The SQL that reads accounts. Statements are built once; each call only binds its values."""

from collections.abc import Sequence
from typing import Any

from kpi_shared.caller import Subject
from kpi_shared.database import AnyRow
from sqlalchemy import bindparam, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from kpi_auth.accounts.errors import UserNotFoundError
from kpi_auth.accounts.fragments import IS_OPEN, IS_USER, NOTICE_EMAIL, SHOWN, STATE
from kpi_auth.accounts.models import LoginState, PasswordOwner, Recipient, User

_get = select(*SHOWN).where(col(User.id) == bindparam("id"), col(User.deleted_at).is_(None))
_get_any = select(*SHOWN).where(col(User.id) == bindparam("id"))
_find_by_name = select(*SHOWN).where(
    func.lower(col(User.username)) == func.lower(bindparam("username")), col(User.deleted_at).is_(None)
)
_password_owner = text(f"""
    SELECT id, username, email, password_hash, {NOTICE_EMAIL} AS notice_email FROM users WHERE {IS_USER} AND {IS_OPEN}
""")  # noqa: S608 our own text
_password_hash = select(col(User.password_hash)).where(col(User.id) == bindparam("id"))
# A username has no @, so a login is either a username or an address. If several accounts claim the address, the one
# that can sign in with it comes first, then the oldest.
_recipient = text(f"""
    SELECT id, username, email FROM users
    WHERE (lower(username) = :login OR email = :login) AND email IS NOT NULL AND {IS_OPEN}
    ORDER BY email_signs_in DESC, id
    LIMIT 1
""")  # noqa: S608 as above
_is_username_taken = text("""
    SELECT EXISTS (
        SELECT FROM users
        WHERE lower(username) = lower(:username) AND id IS DISTINCT FROM CAST(:other_than AS bigint)
    )
""")
# Function and cost of a hash say how long it takes. Of a large table about 100,000 rows are read, the same ones in each
# replica. reltuples is -1 for a table that was never analysed.
_count_other_hashes = text(r"""
    WITH size AS (
        SELECT least(100, 100 * 100000 / greatest(reltuples, 1)) AS percent FROM pg_class WHERE oid = 'users'::regclass
    ), sample AS (
        SELECT password_hash FROM users TABLESAMPLE SYSTEM ((SELECT percent FROM size)) REPEATABLE (0)
        WHERE password_hash IS NOT NULL
    )
    SELECT min(password_hash) AS example, CAST(count(*) AS float8) / (SELECT count(*) FROM sample) AS share
    FROM sample WHERE NOT starts_with(password_hash, :usual)
    GROUP BY substring(password_hash FROM
        '^(?\:bcrypt(?\:_sha256)?\$)?\$2[abxy]\$\d\d|^\$?pbkdf2.sha256\$\d+|argon2[id]*\$(?\:v=\d+\$)?m=\d+,t=\d+,p=\d+'
    )
""")
_find_taken = select(col(User.username)).where(col(User.username).in_(bindparam("usernames", expanding=True)))
_login_state = text("""
    SELECT EXISTS (SELECT FROM users WHERE email = :login) AS is_claimed,
        (SELECT deleted_at IS NOT NULL FROM users WHERE id = CAST(:user_id AS bigint)) AS is_deleted
""")
_is_other_admin = text(f"""
    SELECT EXISTS (SELECT FROM users WHERE role = 'admin' AND {IS_OPEN} AND id <> :id)
""")  # noqa: S608 as above

# Deleted accounts too: for those who keep a copy, a deletion is a state like others.
_get_states = text(f"SELECT id, {STATE} AS state FROM users WHERE id > :after ORDER BY id LIMIT :most")  # noqa: S608
_is_any_admin = text(f"SELECT EXISTS (SELECT FROM users WHERE role = 'admin' AND {IS_OPEN})")  # noqa: S608 as above


async def get(connection: AsyncConnection, *, user_id: int) -> AnyRow | None:
    return (await connection.execute(_get, {"id": user_id})).one_or_none()


async def get_or_raise(connection: AsyncConnection, *, user_id: int) -> AnyRow:
    row = await get(connection, user_id=user_id)
    if row is None:
        raise UserNotFoundError
    return row


async def get_visible_or_raise(
    connection: AsyncConnection, *, user_id: int, caller: Subject, deleted: bool = False
) -> AnyRow:
    """A user that the caller may see: active users and oneself; for admins deactivated users as well.

    With ``deleted``, which is for admins only, a deleted user instead.
    """
    row = (await connection.execute(_get_any, {"id": user_id})).one_or_none()
    if row is None or (row.deleted_at is not None) != deleted:
        raise UserNotFoundError
    if not (row.is_active or caller.is_admin or caller.id == user_id):
        raise UserNotFoundError
    return row


async def find_by_name(connection: AsyncConnection, *, username: str) -> AnyRow | None:
    """A user by username, regardless of case; None if the user is deleted."""
    return (await connection.execute(_find_by_name, {"username": username})).one_or_none()


async def get_password_owner(connection: AsyncConnection, *, user_id: int) -> PasswordOwner | None:
    """None if the account is closed."""
    row = (await connection.execute(_password_owner, {"user_id": user_id})).one_or_none()
    return PasswordOwner(*row) if row is not None else None


async def get_password_hash(connection: AsyncConnection, *, user_id: int) -> str | None:
    found: str | None = await connection.scalar(_password_hash, {"id": user_id})
    return found


async def find_recipient(connection: AsyncConnection, *, login: str) -> Recipient | None:
    """The open account with this username or address, if it has an address."""
    row = (await connection.execute(_recipient, {"login": login})).one_or_none()
    return Recipient(*row) if row is not None else None


async def is_username_taken(connection: AsyncConnection, *, username: str, other_than: int | None = None) -> bool:
    """Whether an account, other than ``other_than``, has this name, regardless of case."""
    values = {"username": username, "other_than": other_than}
    return bool(await connection.scalar(_is_username_taken, values))


async def find_taken(connection: AsyncConnection, *, usernames: Sequence[str]) -> set[str]:
    """Those of these names, in this case, that accounts have."""
    return set(await connection.scalars(_find_taken, {"usernames": usernames}))


async def get_login_state(connection: AsyncConnection, *, login: str, user_id: int | None) -> LoginState:
    """The facts about a refused login that only the audit record has; one statement whatever they are."""
    row = (await connection.execute(_login_state, {"login": login, "user_id": user_id})).one()
    return LoginState(row.is_claimed, bool(row.is_deleted))


async def is_other_admin(connection: AsyncConnection, *, than: int) -> bool:
    """Whether there is an active admin other than this user."""
    return bool(await connection.scalar(_is_other_admin, {"id": than}))


async def is_any_admin(connection: AsyncConnection) -> bool:
    """Whether there is an admin who could sign in."""
    return bool(await connection.scalar(_is_any_admin))


async def get_states(connection: AsyncConnection, *, after: int, most: int) -> list[dict[str, Any]]:
    """The states of accounts, as in events, in the order of their ids."""
    rows = await connection.execute(_get_states, {"after": after, "most": most})
    return [row.state for row in rows]


async def count_other_hashes(connection: AsyncConnection, *, usual: str) -> Sequence[AnyRow]:
    """For each cost of hashes that do not begin as ``usual``, an ``example``, and its ``share`` of all, estimated."""
    return (await connection.execute(_count_other_hashes, {"usual": usual})).all()
