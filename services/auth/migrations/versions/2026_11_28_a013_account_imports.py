"""account imports: which account an imported line became

Revision ID: a013
Revises: a012
"""

import sqlalchemy as sa
from alembic import op

revision = "a013"
down_revision = "a012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "account_imports",
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_account_imports_user_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("key", name="pk_account_imports"),
    )


def downgrade() -> None:
    op.drop_table("account_imports")
