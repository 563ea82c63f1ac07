"""events: what other parts need to know, written with the change and numbered after its commit

Revision ID: a007
Revises: a006
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "a007"
down_revision = "a006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=True),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("schema_version", sa.Integer(), nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=True),
        sa.Column("data", postgresql.JSONB(), nullable=False),
        # Not now(): the order of an account's changes, also within one transaction.
        sa.Column(
            "occurred_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sa.CheckConstraint("schema_version > 0", name=op.f("ck_events_schema_version_positive")),
    )
    op.create_index("uq_events_seq", "events", ["seq"], unique=True)
    op.create_index("ix_events_waiting", "events", ["id"], postgresql_where=sa.text("seq IS NULL"))
    op.create_index("ix_events_occurred_at", "events", ["occurred_at"])
    op.create_index("ix_events_killed_keys", "events", ["id"], postgresql_where=sa.text("type = 'key.killed'"))
    op.execute("CREATE SEQUENCE events_seq")
    op.create_table(
        "event_horizon",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, server_default=sa.text("1"), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event_horizon")),
        sa.CheckConstraint("id = 1", name=op.f("ck_event_horizon_only_one")),
    )
    op.execute("INSERT INTO event_horizon (seq) VALUES (0)")


def downgrade() -> None:
    op.drop_table("event_horizon")
    op.drop_table("events")
    op.execute("DROP SEQUENCE events_seq")
