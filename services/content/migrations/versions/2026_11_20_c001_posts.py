"""authors, posts, votes, post_imports

Revision ID: c001
Revises:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TSVECTOR

revision = "c001"
down_revision = None
branch_labels = None
depends_on = None

_SEPARATORS = r"'[!-/:-@[-`{-~]+'::text, ' '::text, 'g'::text"
_SEARCH_VECTOR = (
    f"(setweight(to_tsvector('simple'::regconfig, regexp_replace(title, {_SEPARATORS})), 'A'::\"char\")"
    f" || to_tsvector('simple'::regconfig, regexp_replace(content, {_SEPARATORS})))"
    f" || strip(to_tsvector('english'::regconfig, regexp_replace((title || chr(10)) || content, {_SEPARATORS})))"
)
_HOT_SCORE = (
    "log10(GREATEST(votes, 1)::double precision)"
    " + EXTRACT(epoch FROM (date AT TIME ZONE 'UTC'::text))::double precision / 45000::double precision"
)


def upgrade() -> None:
    op.create_table(
        "authors",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_authors"),
        sa.CheckConstraint(
            "length(username) >= 1 AND length(username) <= 255", name=op.f("ck_authors_username_length")
        ),
    )
    _create_posts()
    op.create_table(
        "votes",
        sa.Column("post_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("date", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("post_id", "user_id", name="pk_votes"),
        sa.ForeignKeyConstraint(["post_id"], ["posts.id"], name="fk_votes_post_id", ondelete="CASCADE"),
    )
    op.create_table(
        "post_imports",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("external_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("post_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("source", "external_id", name="pk_post_imports"),
        sa.ForeignKeyConstraint(["post_id"], ["posts.id"], name="fk_post_imports_post_id", ondelete="CASCADE"),
        sa.UniqueConstraint("post_id", name="uq_post_imports_post_id"),
        sa.CheckConstraint("length(source) >= 1 AND length(source) <= 64", name=op.f("ck_post_imports_source_length")),
    )


def _create_posts() -> None:
    op.create_table(
        "posts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("published", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("date", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("votes", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("hot", sa.Double(), sa.Computed(_HOT_SCORE, persisted=True), nullable=False),
        sa.Column("search", TSVECTOR(), sa.Computed(_SEARCH_VECTOR, persisted=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_posts"),
        sa.ForeignKeyConstraint(["owner_id"], ["authors.id"], name="fk_posts_owner_id"),
        sa.CheckConstraint("length(title) >= 1 AND length(title) <= 300", name=op.f("ck_posts_title_length")),
        sa.CheckConstraint("length(content) <= 40000", name=op.f("ck_posts_content_length")),
        sa.CheckConstraint("votes >= 0", name=op.f("ck_posts_votes_not_negative")),
    )
    published = sa.text("published")
    op.create_index("ix_posts_new", "posts", ["date", "id"], postgresql_where=published)
    op.create_index("ix_posts_top", "posts", ["votes", "id"], postgresql_where=published)
    op.create_index("ix_posts_hot", "posts", ["hot", "id"], postgresql_where=published)
    op.create_index("ix_posts_owner", "posts", ["owner_id", "date", "id"])
    # Changes wait in a list that each search reads from end to end, so it is kept short (kilobytes).
    op.create_index(
        "ix_posts_search",
        "posts",
        ["search"],
        postgresql_using="gin",
        postgresql_with={"gin_pending_list_limit": 256},
    )
    # How often each of the 5,000 most frequent words comes is what the choice between the index on words and the
    # one on the order hangs on; by default it is known of 1,000.
    op.execute("ALTER TABLE posts ALTER COLUMN search SET STATISTICS 500")


def downgrade() -> None:
    op.drop_table("post_imports")
    op.drop_table("votes")
    op.drop_table("posts")
    op.drop_table("authors")
