"""API keys, and the code for the first admin

Revision ID: a004
Revises: a003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "a004"
down_revision = "a003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("allowed_networks", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("rate_limit_requests", sa.Integer(), nullable=True),
        sa.Column("rate_limit_window", sa.Integer(), nullable=True),
        sa.Column("is_active", sa.Boolean(), server_default=sa.true(), nullable=False),
        _time("created_at", now=True),
        _time("updated_at", now=True),
        _time("expires_at"),
        sa.Column("replaced_by", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        _time("last_used_at"),
        sa.Column("last_used_address", sa.Text(), nullable=True),
        sa.Column("uses", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_api_keys_user_id"), ondelete="CASCADE"),
        *(sa.CheckConstraint(rule, name=op.f(f"ck_api_keys_{name}")) for name, rule in _RULES.items()),
    )
    op.create_index("ix_api_keys_user_id", "api_keys", ["user_id", "id"])
    op.create_index(
        "ix_api_keys_expires_at", "api_keys", ["expires_at"], postgresql_where=sa.text("expires_at IS NOT NULL")
    )
    op.create_table(
        "bootstrap_codes",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, server_default=sa.text("1"), nullable=False),
        sa.Column("code_hash", sa.LargeBinary(), nullable=False),
        _time("created_at", now=True),
        _time("claimed_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bootstrap_codes")),
        sa.CheckConstraint("id = 1", name=op.f("ck_bootstrap_codes_only_one")),
        sa.CheckConstraint("length(code_hash) = 32", name=op.f("ck_bootstrap_codes_hash_length")),
    )


def downgrade() -> None:
    op.drop_table("bootstrap_codes")
    op.drop_table("api_keys")


_RULES = {
    "hash_length": "length(secret_hash) = 32",
    "texts_length": "length(name) BETWEEN 1 AND 100 AND length(description) <= 1000",
    "scopes_known": "scopes <@ ARRAY['read', 'write', 'admin'] AND cardinality(scopes) BETWEEN 1 AND 3",
    "networks_count": "cardinality(allowed_networks) <= 100",
    "rate_limit_has_both": "(rate_limit_requests IS NULL) = (rate_limit_window IS NULL)",
    "uses_count": "uses >= 0",
}


def _time(name: str, *, now: bool = False) -> sa.Column[object]:
    default = sa.func.now() if now else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=not now)
