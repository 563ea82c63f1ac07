"""The SQL of users. Statements are built once; each call only binds its values."""

from collections.abc import Mapping
from datetime import datetime

from kpi_shared.database import AnyRow
from kpi_shared.tokens import Role, Subject
from sqlalchemy import and_, bindparam, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from kpi_auth.users.errors import UserNotFoundError
from kpi_auth.users.models import Account, User
from kpi_auth.users.schemas import NewUser

# All that anybody is shown of a user; what each caller sees of it is decided by the schema.
shown = (
    col(User.id),
    col(User.username),
    col(User.full_name),
    col(User.bio),
    col(User.email),
    col(User.email_verified_at).is_not(None).label("email_verified"),
    col(User.role),
    col(User.is_active),
    col(User.created_at),
    col(User.updated_at),
    col(User.deleted_at),
    col(User.version),
)
_add = insert(User).on_conflict_do_nothing().returning(*shown)
_is_taken = select(col(User.id)).where(func.lower(col(User.username)) == func.lower(bindparam("username")))
_get = select(*shown).where(col(User.id) == bindparam("id"), col(User.deleted_at).is_(None))
_get_any = select(*shown).where(col(User.id) == bindparam("id"))
_find_by_login = select(
    col(User.id), col(User.username), col(User.role), col(User.password_hash), col(User.is_active), col(User.deleted_at)
).where(
    or_(
        func.lower(col(User.username)) == bindparam("login"),
        and_(col(User.email) == bindparam("login"), col(User.email_signs_in)),
    )
)
# Not for key update: rows of other tables may refer to it meanwhile.
_hold_open = text("""
    SELECT id, username, role FROM users
    WHERE id = :id AND is_active AND deleted_at IS NULL
        AND (CAST(:password_hash AS text) IS NULL OR password_hash = :password_hash)
    FOR NO KEY UPDATE
""")
_replace_hash = (
    update(User)
    .where(col(User.id) == bindparam("of"), col(User.password_hash) == bindparam("old"))
    .values(password_hash=bindparam("new"))
)
_add_imported = text("""
    INSERT INTO users (username, created_at)
    SELECT name, born FROM unnest(CAST(:names AS text[]), CAST(:born AS timestamptz[])) AS given (name, born)
    -- The conflict clause alone would use up an id for each name that is there.
    WHERE NOT EXISTS (SELECT FROM users WHERE lower(username) = lower(name))
    ON CONFLICT DO NOTHING
""")
_ids_of = text("""
    SELECT lower(username) AS name, id FROM users
    WHERE lower(username) = ANY(CAST(:names AS text[])) AND password_hash IS NULL
""")


async def add(connection: AsyncConnection, *, user: NewUser) -> AnyRow | None:
    """Insert a user; None when the username or the address is taken.

    A conflict is asked for instead of run into: PostgreSQL logs a broken constraint together with its values.
    """
    return (await connection.execute(_add, user.model_dump())).one_or_none()


async def username_is_taken(connection: AsyncConnection, *, username: str) -> bool:
    return await connection.scalar(_is_taken, {"username": username}) is not None


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
    """A user whom the caller may see: the active ones, themselves, and for admins the deactivated ones too.

    With ``deleted``, which is for admins, one of the deleted users instead.
    """
    row = (await connection.execute(_get_any, {"id": user_id})).one_or_none()
    if row is None or (row.deleted_at is not None) != deleted:
        raise UserNotFoundError
    if not (row.is_active or caller.is_admin or caller.id == user_id):
        raise UserNotFoundError
    return row


async def find_by_login(connection: AsyncConnection, *, login: str) -> Account | None:
    """The account of a username or an e-mail address, in any case. A username holds no ``@``, so at most one fits."""
    row = (await connection.execute(_find_by_login, {"login": login.lower()})).one_or_none()
    if row is None:
        return None
    may_sign_in = row.is_active and row.deleted_at is None
    return Account(row.id, row.username, Role(row.role), row.password_hash, may_sign_in)


async def hold_open(connection: AsyncConnection, *, user_id: int, password_hash: str | None = None) -> Account | None:
    """Hold the user's row until the transaction ends; None if the account was closed meanwhile.

    With a hash, also None if the password is no longer the one that was verified.
    """
    row = (await connection.execute(_hold_open, {"id": user_id, "password_hash": password_hash})).one_or_none()
    if row is None:
        return None
    return Account(row.id, row.username, Role(row.role), password_hash, may_sign_in=True)


async def replace_hash(connection: AsyncConnection, *, user_id: int, old: str, new: str) -> None:
    """Put a stronger hash of the same password in place, unless the password was changed meanwhile."""
    await connection.execute(_replace_hash, {"of": user_id, "old": old, "new": new})


async def add_imported(connection: AsyncConnection, *, born: Mapping[str, datetime]) -> dict[str, int]:
    """Add those of the names that are not there, with no password and no address.

    Returns the ids of all imported accounts by lower case, and none of an account that somebody registered.
    """
    await connection.execute(_add_imported, {"names": list(born), "born": list(born.values())})
    rows = await connection.execute(_ids_of, {"names": [name.lower() for name in born]})
    return {row.name: row.id for row in rows}
