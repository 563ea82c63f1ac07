"""repeated refreshes of sessions, and leases of mails

Revision ID: a003
Revises: a002
"""

import sqlalchemy as sa
from alembic import op

revision = "a003"
down_revision = "a002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Constant defaults, so that no row is rewritten.
    for column in ("suspicion", "repeat_suspicion"):
        op.add_column("sessions", sa.Column(column, sa.SmallInteger(), server_default="0", nullable=False))
    op.add_column("sessions", sa.Column("used_before", sa.DateTime(timezone=True), nullable=True))
    op.add_column("mails", sa.Column("lease", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("mails", "lease")
    for column in ("used_before", "repeat_suspicion", "suspicion"):
        op.drop_column("sessions", column)
