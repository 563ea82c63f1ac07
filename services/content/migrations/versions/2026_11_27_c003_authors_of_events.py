"""authors as a copy of auth's accounts: version, is_deleted, no name of a deleted one; inbox

Code before this one still works: it writes names without a version and renames no deleted author.

Revision ID: c003
Revises: c002
"""

import sqlalchemy as sa
from alembic import op

revision = "c003"
down_revision = "c002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # The rows are not read while the table is locked: the next revision validates the constraint.
    op.execute("""
        ALTER TABLE authors
            ALTER COLUMN username DROP NOT NULL,
            ADD COLUMN version bigint NOT NULL DEFAULT 0,
            ADD COLUMN is_deleted boolean NOT NULL DEFAULT false,
            ADD CONSTRAINT ck_authors_deleted_has_no_name CHECK (is_deleted = (username IS NULL)) NOT VALID
    """)
    op.create_table(
        "inbox",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("source", name="pk_inbox"),
        sa.CheckConstraint("seq >= 0", name=op.f("ck_inbox_seq_not_negative")),
    )


def downgrade() -> None:
    op.drop_table("inbox")
    # The names of deleted accounts are not known here.
    op.execute("""
        ALTER TABLE authors DROP CONSTRAINT ck_authors_deleted_has_no_name;
        UPDATE authors SET username = 'deleted' WHERE username IS NULL;
        ALTER TABLE authors
            ALTER COLUMN username SET NOT NULL,
            DROP COLUMN version,
            DROP COLUMN is_deleted
    """)
