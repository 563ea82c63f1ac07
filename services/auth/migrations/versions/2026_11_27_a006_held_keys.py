"""held keys: those that an admin has deactivated

Revision ID: a006
Revises: a005
"""

import sqlalchemy as sa
from alembic import op

revision = "a006"
down_revision = "a005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A constant default, so that no row is rewritten.
    op.add_column("api_keys", sa.Column("is_held", sa.Boolean(), server_default=sa.false(), nullable=False))


def downgrade() -> None:
    op.drop_column("api_keys", "is_held")
