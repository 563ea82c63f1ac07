"""outlets: how far each outlet of events has come, and which process works it

Revision ID: a008
Revises: a007
"""

import sqlalchemy as sa
from alembic import op

revision = "a008"
down_revision = "a007"
branch_labels = None
depends_on = None


def _time(name: str, *, nullable: bool = False) -> sa.Column[sa.DateTime]:
    default = None if nullable else sa.func.now()
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "outlets",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("holder", sa.Text(), nullable=True),
        _time("leased_until", nullable=True),
        sa.Column("state", sa.Text(), server_default="new", nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        _time("state_at"),
        _time("acknowledged_at"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_outlets")),
        sa.CheckConstraint("state IN ('new', 'working', 'failing')", name=op.f("ck_outlets_state_known")),
        sa.CheckConstraint("seq >= 0", name=op.f("ck_outlets_seq_count")),
    )


def downgrade() -> None:
    op.drop_table("outlets")
