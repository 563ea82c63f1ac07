"""conversations, conversation_members, messages, conversation_events; authors are found by name

Code before this one still works. While it does, its rebuild of the authors fails if it would delete a member.
The authors are locked while their index is built, 2.4 s for a million of them on a busy machine: who creates a post
then waits, and reads and votes do not.

Revision ID: c005
Revises: c004
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR

revision = "c005"
down_revision = "c004"
branch_labels = None
depends_on = None

_SEARCH_VECTOR = "(search_vector(content) || array_to_tsvector(ARRAY['#'::text || conversation_id]))"


def upgrade() -> None:
    op.create_table(
        "conversations",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        _time("created_at"),
        _time("updated_at"),
        _counter("last_number"),
        _counter("last_event"),
        _counter("message_count"),
        sa.Column("last_message_at", sa.DateTime(timezone=True)),
        sa.Column("last_excerpt", sa.Text()),
        sa.Column("deleted_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_conversations"),
        sa.CheckConstraint("length(title) >= 1 AND length(title) <= 200", name=op.f("ck_conversations_title_length")),
        sa.CheckConstraint("message_count >= 0 AND message_count <= last_number", name=op.f("ck_conversations_counts")),
    )
    op.create_index(
        "ix_conversations_deleted_at",
        "conversations",
        ["deleted_at"],
        postgresql_where=sa.text("deleted_at IS NOT NULL"),
    )
    op.create_index("ix_authors_username_lower", "authors", [sa.text("lower(username)")])
    _create_members()
    _create_messages()
    _create_events()


def _time(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)


def _counter(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False)


def _of_conversation(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["conversation_id"], ["conversations.id"], name=f"fk_{table}_conversation_id", ondelete="CASCADE"
    )


def _create_members() -> None:
    op.create_table(
        "conversation_members",
        sa.Column("conversation_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("user_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        _counter("read_number"),
        _counter("read_gaps"),
        _time("joined_at"),
        sa.PrimaryKeyConstraint("conversation_id", "user_id", name="pk_conversation_members"),
        _of_conversation("conversation_members"),
        sa.ForeignKeyConstraint(["user_id"], ["authors.id"], name="fk_conversation_members_user_id"),
        sa.CheckConstraint("role IN ('owner', 'writer', 'reader')", name=op.f("ck_conversation_members_role")),
        sa.CheckConstraint("read_number >= 0 AND read_gaps >= 0", name=op.f("ck_conversation_members_read_mark")),
    )
    op.create_index(
        "ix_conversation_members_user_id_conversation_id", "conversation_members", ["user_id", "conversation_id"]
    )


def _create_function() -> None:
    """Folding is most of the work for a long text, and here it is done once for both forms of the words.

    One character may be 18 when it is normalized, which folding repeats. What is cut off then costs nothing more.
    """
    # A restored dump has an empty search path.
    schema = op.get_bind().scalar(sa.text("SELECT quote_ident(current_schema())"))
    op.execute(f"""
        CREATE FUNCTION search_vector(text) RETURNS tsvector LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
        DECLARE words text = $1;
        BEGIN
            IF octet_length($1) <> length($1) THEN
                words = left(normalize($1, NFKC), 100000);
            END IF;
            words = left({schema}.search_words(words), 100000);
            RETURN to_tsvector('simple'::regconfig, words) || strip(to_tsvector('english'::regconfig, words));
        END $$
    """)


def _create_messages() -> None:
    _create_function()
    op.create_table(
        "messages",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("conversation_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("metadata", JSONB()),
        sa.Column("author_id", sa.BigInteger(), nullable=False),
        _time("created_at"),
        sa.Column("is_interrupted", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("search", TSVECTOR(), sa.Computed(_SEARCH_VECTOR, persisted=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_messages"),
        _of_conversation("messages"),
        sa.UniqueConstraint("conversation_id", "number", name="uq_messages_conversation_id_number"),
        sa.CheckConstraint("role IN ('system', 'user', 'assistant')", name=op.f("ck_messages_role")),
        sa.CheckConstraint("length(content) <= 100000", name=op.f("ck_messages_content_length")),
        sa.CheckConstraint("number >= 1", name=op.f("ck_messages_number_positive")),
    )
    op.create_index(
        "ix_messages_search",
        "messages",
        ["search"],
        postgresql_using="gin",
        postgresql_with={"gin_pending_list_limit": 256},
    )


def _create_events() -> None:
    op.create_table(
        "conversation_events",
        sa.Column("conversation_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("data", JSONB(), nullable=False),
        _time("occurred_at"),
        sa.PrimaryKeyConstraint("conversation_id", "seq", name="pk_conversation_events"),
        _of_conversation("conversation_events"),
    )
    op.create_index("ix_conversation_events_occurred_at", "conversation_events", ["occurred_at"])


def downgrade() -> None:
    op.drop_table("conversation_events")
    op.drop_table("messages")
    op.execute("DROP FUNCTION search_vector")
    op.drop_table("conversation_members")
    op.drop_table("conversations")
    op.drop_index("ix_authors_username_lower", "authors")
