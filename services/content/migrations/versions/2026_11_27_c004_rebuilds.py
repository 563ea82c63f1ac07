"""inbox: which rebuild of the authors is under way; the constraint of c003 is validated

Revision ID: c004
Revises: c003
"""

import sqlalchemy as sa
from alembic import op

revision = "c004"
down_revision = "c003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # In a transaction of its own, it reads the rows while others write them.
    op.execute("ALTER TABLE authors VALIDATE CONSTRAINT ck_authors_deleted_has_no_name")
    op.alter_column("inbox", "seq", existing_type=sa.BigInteger(), nullable=True)
    op.add_column("inbox", sa.Column("rebuild", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("inbox", sa.Column("held_until", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("inbox", "held_until")
    op.drop_column("inbox", "rebuild")
    # Without a row, all accounts are read.
    op.execute("DELETE FROM inbox WHERE seq IS NULL")
    op.alter_column("inbox", "seq", existing_type=sa.BigInteger(), nullable=False)
