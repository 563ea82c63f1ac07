"""accounts: sessions, one-time codes, mails, outside identities, audit, attempts, profiles

Revision ID: a002
Revises: a001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "a002"
down_revision = "a001"
branch_labels = None
depends_on = None

_APPEND_ONLY = """
    CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'rows of % are only ever added', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
    END
    $$
"""
_ON_AUDIT = """
    CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
"""


def upgrade() -> None:
    _extend_users()
    _create_sessions()
    _create_codes()
    _create_mails()
    _create_identities()
    _create_audit()
    _create_attempts()


def downgrade() -> None:
    for table in ("attempts", "audit_events", "outside_identities", "mails", "one_time_codes", "sessions"):
        op.drop_table(table)
    op.execute("DROP FUNCTION refuse_change()")
    for index in ("closed", "admins", "created_at", "email_prefix", "username_prefix"):
        op.drop_index(f"ix_users_{index}", table_name="users")
    op.drop_index("uq_users_email", table_name="users")
    # The schema before allows one account for each address: the account that the address signs in to.
    op.execute("UPDATE users SET email = NULL WHERE NOT email_signs_in")
    for constraint in ("ck_users_verified_email_signs_in", "ck_users_profile_length"):
        op.drop_constraint(op.f(constraint), "users")
    for column in ("version", "email_verified_at", "email_signs_in", "bio", "full_name"):
        op.drop_column("users", column)
    op.create_unique_constraint(op.f("uq_users_email"), "users", ["email"])


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False)


def _user_id() -> sa.Column[int]:
    return sa.Column("user_id", sa.BigInteger(), nullable=False)


def _time(name: str, *, now: bool = False, nullable: bool = False) -> sa.Column[object]:
    default = sa.func.now() if now else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def _of_user(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f(f"fk_{table}_user_id"), ondelete="CASCADE")


def _extend_users() -> None:
    op.add_column("users", sa.Column("full_name", sa.Text(), nullable=True))
    op.add_column("users", sa.Column("bio", sa.Text(), nullable=True))
    op.add_column("users", sa.Column("email_signs_in", sa.Boolean(), server_default=sa.true(), nullable=False))
    op.add_column("users", _time("email_verified_at", nullable=True))
    op.add_column("users", sa.Column("version", sa.Integer(), server_default="1", nullable=False))
    op.create_check_constraint(
        op.f("ck_users_profile_length"), "users", "length(full_name) <= 100 AND length(bio) <= 2000"
    )
    op.create_check_constraint(
        op.f("ck_users_verified_email_signs_in"), "users", "email_verified_at IS NULL OR email_signs_in"
    )
    op.drop_constraint(op.f("uq_users_email"), "users")
    op.create_index("uq_users_email", "users", ["email"], unique=True, postgresql_where=sa.text("email_signs_in"))
    op.create_index("ix_users_username_prefix", "users", [sa.text("lower(username) text_pattern_ops"), "id"])
    op.create_index("ix_users_email_prefix", "users", [sa.text("email text_pattern_ops"), "id"])
    op.create_index("ix_users_created_at", "users", ["created_at", "id"])
    few = {"ix_users_admins": "role = 'admin'", "ix_users_closed": "NOT is_active OR deleted_at IS NOT NULL"}
    for name, condition in few.items():
        op.create_index(name, "users", ["created_at", "id"], postgresql_where=sa.text(condition))


def _create_sessions() -> None:
    op.create_table(
        "sessions",
        _id(),
        _user_id(),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("counter", sa.BigInteger(), server_default="0", nullable=False),
        _time("created_at", now=True),
        _time("used_at", now=True),
        _time("ended_at", nullable=True),
        sa.Column("end_reason", sa.Text(), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("user_agent", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
        _of_user("sessions"),
        sa.CheckConstraint("length(secret) = 32", name=op.f("ck_sessions_secret_length")),
        sa.CheckConstraint("counter >= 0", name=op.f("ck_sessions_counter_counts")),
        sa.CheckConstraint("(ended_at IS NULL) = (end_reason IS NULL)", name=op.f("ck_sessions_end_has_reason")),
    )
    living = sa.text("ended_at IS NULL")
    op.create_index("ix_sessions_living", "sessions", ["user_id", "id"], postgresql_where=living)


def _create_codes() -> None:
    known = "purpose IN ('verify_email', 'change_email', 'reset_password')"
    op.create_table(
        "one_time_codes",
        _id(),
        _user_id(),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("code_hash", sa.LargeBinary(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        _time("created_at", now=True),
        _time("expires_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_one_time_codes")),
        _of_user("one_time_codes"),
        sa.CheckConstraint(known, name=op.f("ck_one_time_codes_purpose_known")),
        sa.CheckConstraint("length(code_hash) = 32", name=op.f("ck_one_time_codes_hash_length")),
    )
    op.create_index("uq_one_time_codes_code_hash", "one_time_codes", ["code_hash"], unique=True)
    op.create_index("ix_one_time_codes_user_id", "one_time_codes", ["user_id"])
    op.create_index("ix_one_time_codes_expires_at", "one_time_codes", ["expires_at"])


def _create_mails() -> None:
    op.create_table(
        "mails",
        _id(),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("template", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        _time("due_at", now=True),
        _time("expires_at", nullable=True),
        _time("created_at", now=True),
        _time("settled_at", nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mails")),
        sa.CheckConstraint("state IN ('pending', 'sent', 'dead')", name=op.f("ck_mails_state_known")),
        sa.CheckConstraint("attempts >= 0", name=op.f("ck_mails_attempts_count")),
    )
    op.create_index("ix_mails_due", "mails", ["due_at", "id"], postgresql_where=sa.text("state = 'pending'"))
    op.create_index("ix_mails_state", "mails", ["state", "id"])


def _create_identities() -> None:
    op.create_table(
        "outside_identities",
        _id(),
        _user_id(),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        _time("created_at", now=True),
        _time("used_at", now=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outside_identities")),
        _of_user("outside_identities"),
        sa.CheckConstraint(
            "length(issuer) <= 500 AND length(subject) <= 255", name=op.f("ck_outside_identities_names_length")
        ),
    )
    op.create_index("uq_outside_identities_issuer_subject", "outside_identities", ["issuer", "subject"], unique=True)
    op.create_index("ix_outside_identities_user_id", "outside_identities", ["user_id"])


def _create_audit() -> None:
    op.create_table(
        "audit_events",
        _id(),
        _time("at", now=True),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.BigInteger(), nullable=True),
        sa.Column("subject_id", sa.BigInteger(), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("user_agent", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("details", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_events")),
    )
    for column in ("actor_id", "subject_id", "event"):
        op.create_index(f"ix_audit_events_{column}", "audit_events", [column, "id"])
    op.execute(_APPEND_ONLY)
    op.execute(_ON_AUDIT)


def _create_attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("times", postgresql.ARRAY(sa.DateTime(timezone=True)), nullable=False),
        _time("forget_at"),
        _time("told_at", nullable=True),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_attempts")),
    )
