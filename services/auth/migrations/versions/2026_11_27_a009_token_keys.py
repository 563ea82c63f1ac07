"""token keys: which process holds which keys of the tokens

Revision ID: a009
Revises: a008
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "a009"
down_revision = "a008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "token_key_holders",
        sa.Column("instance", sa.Text(), nullable=False),
        sa.Column("part", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("keys", postgresql.JSONB(), nullable=False),
        sa.Column("reported_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("instance", name=op.f("pk_token_key_holders")),
    )


def downgrade() -> None:
    op.drop_table("token_key_holders")
