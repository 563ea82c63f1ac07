"""SQL fragments on the users table, for statements of other nouns that must not need a second round trip.

No code outside this folder names the table: statements on other tables join it with these fragments.
"""

from sqlmodel import col

from kpi_auth.accounts.models import User

TABLE = "users"
# Join by the column ``user_id`` of another table, and select by the parameter ``user_id``.
OF_USER_ID = "users.id = user_id"
IS_USER = "users.id = :user_id"
# The user of the parameter ``login``. A username has no @, and an address that does not identify its account signs in
# only while no other account, open or closed, has it: at most one account matches.
OF_LOGIN = """lower(users.username) = :login OR (users.email = :login AND (
    users.email_signs_in
    OR NOT EXISTS (SELECT FROM users AS other WHERE other.email = :login AND other.id <> users.id)
))"""
IS_OPEN = "users.is_active AND users.deleted_at IS NULL"
# The claim ``ver`` of a token that is minted from this row.
ACCOUNT_VERSION = "users.version AS account_version"
SIGN_IN_COLUMNS = (
    f"users.id, users.username, users.role, users.password_hash, {IS_OPEN} AS may_sign_in, {ACCOUNT_VERSION}"
)
# The address for notices about the account: it is verified, or can sign in without verification.
NOTICE_EMAIL = "CASE WHEN users.email_signs_in THEN users.email END"
# Locks the row of an open account; with a hash, only if the password is still the one that was verified. The same rule
# as ``write_repository.lock_open``. The lock mode lets concurrent transactions insert rows that reference the user.
LOCK_OPEN = f"""
    SELECT id, username, role, {ACCOUNT_VERSION} FROM users
    WHERE {IS_USER} AND {IS_OPEN} AND (CAST(:password_hash AS text) IS NULL OR password_hash = :password_hash)
    FOR NO KEY UPDATE
"""  # noqa: S608 our own text

# The payload of an event about this row, which is ``events.payloads.AccountState``.
STATE = """jsonb_build_object(
    'id', id, 'username', username, 'role', role, 'is_active', is_active,
    'is_deleted', deleted_at IS NOT NULL, 'version', version
)"""

# Every column that a response can contain; the response schema selects what the caller may see.
SHOWN = (
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
