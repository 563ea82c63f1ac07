"""token keys: how long the access tokens of an auth process live

Revision ID: a011
Revises: a010
"""

import sqlalchemy as sa
from alembic import op

revision = "a011"
down_revision = "a010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # None: the process mints nothing, or has a version of before this column.
    op.add_column("token_key_holders", sa.Column("token_seconds", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("token_key_holders", "token_seconds")
