"""The SQL of users. Statements are built once; each call only binds its values."""

from collections.abc import Mapping
from datetime import datetime

from kpi_shared.caller import Role, Subject
from kpi_shared.database import AnyRow
from sqlalchemy import bindparam, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from kpi_auth.users.errors import UserNotFoundError
from kpi_auth.users.models import Account, User

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
_get = select(*shown).where(col(User.id) == bindparam("id"), col(User.deleted_at).is_(None))
_get_any = select(*shown).where(col(User.id) == bindparam("id"))
# Not for key update: rows of other tables may refer to it meanwhile.
_hold_open = text("""
    SELECT id, username, role FROM users
    WHERE id = :id AND is_active AND deleted_at IS NULL
        AND (CAST(:password_hash AS text) IS NULL OR password_hash = :password_hash)
    FOR NO KEY UPDATE
""")
_hash_of = select(col(User.password_hash)).where(col(User.id) == bindparam("id"))
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
    WHERE lower(username) = ANY(CAST(:names AS text[])) AND password_hash IS NULL AND email IS NULL
        AND NOT EXISTS (SELECT FROM outside_identities WHERE user_id = users.id)
""")


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


async def hold_open(connection: AsyncConnection, *, user_id: int, password_hash: str | None = None) -> Account | None:
    """Hold the user's row until the transaction ends; None if the account was closed meanwhile.

    With a hash, also None if the password is no longer the one that was verified.
    """
    row = (await connection.execute(_hold_open, {"id": user_id, "password_hash": password_hash})).one_or_none()
    if row is None:
        return None
    return Account(row.id, row.username, Role(row.role), password_hash, may_sign_in=True)


async def hash_of(connection: AsyncConnection, *, user_id: int) -> str | None:
    found: str | None = await connection.scalar(_hash_of, {"id": user_id})
    return found


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
