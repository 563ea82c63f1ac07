"""Pieces of SQL on the table of users, for statements of other nouns that must not cost a second round trip.

Nothing outside this folder names the table: a statement on another table joins it by these pieces.
"""

from sqlmodel import col

from kpi_auth.accounts.models import User

TABLE = "users"
# The user of a row that has a ``user_id``, and the one of a bound ``user_id``.
OF_USER_ID = "users.id = user_id"
IS_USER = "users.id = :user_id"
# The user of a bound ``login``. A username holds no @, so that at most one account fits.
OF_LOGIN = "lower(users.username) = :login OR (users.email = :login AND users.email_signs_in)"
IS_OPEN = "users.is_active AND users.deleted_at IS NULL"
SIGN_IN_COLUMNS = f"users.id, users.username, users.role, users.password_hash, {IS_OPEN} AS may_sign_in"
# Where notices about the account go: an address that its owner has shown to read, or that is accepted as such.
NOTICE_EMAIL = "CASE WHEN users.email_signs_in THEN users.email END"
# The row of an open account, locked; with a hash, only if the password is still the one that was verified. Rows of
# other tables may refer to it meanwhile.
LOCK_OPEN = f"""
    SELECT id, username, role FROM users
    WHERE {IS_USER} AND {IS_OPEN} AND (CAST(:password_hash AS text) IS NULL OR password_hash = :password_hash)
    FOR NO KEY UPDATE
"""  # noqa: S608 our own text

# All that is shown of a user to anybody; what each caller sees of it is decided by the schema.
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
