"""webhooks, and the events that they have not got yet

Revision ID: a010
Revises: a009
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "a010"
down_revision = "a009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("event_types", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("is_active", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("previous_secret", sa.Text(), nullable=True),
        _time("previous_until"),
        sa.Column("queued_seq", sa.BigInteger(), nullable=False),
        sa.Column("dead_in_row", sa.Integer(), server_default="0", nullable=False),
        _time("disabled_at"),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        _time("delivered_at"),
        sa.Column("created_by", sa.BigInteger(), nullable=True),
        _time("created_at", now=True),
        _time("updated_at", now=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
        *_checks("webhooks", _WEBHOOK_RULES),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("webhook_id", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        _time("due_at"),
        sa.Column("give_up_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease", sa.BigInteger(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        _time("created_at", now=True),
        _time("settled_at"),
        sa.PrimaryKeyConstraint("webhook_id", "seq", name=op.f("pk_webhook_deliveries")),
        sa.ForeignKeyConstraint(
            ["webhook_id"], ["webhooks.id"], name=op.f("fk_webhook_deliveries_webhook_id"), ondelete="CASCADE"
        ),
        *_checks("webhook_deliveries", _DELIVERY_RULES),
    )
    op.create_index(
        "ix_webhook_deliveries_due",
        "webhook_deliveries",
        ["webhook_id", "due_at", "seq"],
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(
        "ix_webhook_deliveries_account",
        "webhook_deliveries",
        ["webhook_id", "account_id", "seq"],
        postgresql_where=sa.text("state = 'pending'"),
    )


def downgrade() -> None:
    op.drop_table("webhook_deliveries")
    op.drop_table("webhooks")


_WEBHOOK_RULES = {
    "texts_length": "length(url) BETWEEN 1 AND 2048 AND length(description) <= 1000",
    "event_types_count": "cardinality(event_types) <= 50",
    "disabled_has_reason": "(disabled_at IS NULL) = (disabled_reason IS NULL)",
    "active_or_disabled": "NOT (is_active AND disabled_at IS NOT NULL)",
    "previous_secret_ends": "(previous_secret IS NULL) = (previous_until IS NULL)",
    "numbers_count": "queued_seq >= 0 AND dead_in_row >= 0",
}
_DELIVERY_RULES = {
    "state_known": "state IN ('pending', 'dead')",
    "attempts_count": "attempts >= 0",
    "dead_is_settled": "(state = 'dead') = (settled_at IS NOT NULL)",
    "dead_is_not_due": "state = 'pending' OR due_at IS NULL",
}


def _checks(table: str, rules: dict[str, str]) -> list[sa.CheckConstraint]:
    return [sa.CheckConstraint(rule, name=op.f(f"ck_{table}_{name}")) for name, rule in rules.items()]


def _time(name: str, *, now: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.func.now() if now else None, nullable=not now)
