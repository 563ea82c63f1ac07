"""audit chain: the place and the hash of each record, signed checkpoints, and filters by key and time

Revision ID: a005
Revises: a004
"""

import sqlalchemy as sa
from alembic import op

revision = "a005"
down_revision = "a004"
branch_labels = None
depends_on = None

# The columns that no statement may name in a change; ``seq`` and ``hash`` are set once, after the commit.
_RECORD = "id, at, event, actor_id, subject_id, address, user_agent, request_id, details"
_APPEND_ONLY = f"""
    CREATE TRIGGER append_only BEFORE UPDATE OF {_RECORD}, key_id OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
"""
_CHAINED_ONCE = """
    CREATE TRIGGER chained_once BEFORE UPDATE OF seq, hash ON audit_events
    FOR EACH ROW WHEN (OLD.seq IS NOT NULL) EXECUTE FUNCTION refuse_change()
"""
_REFUSE_DELETION = """
    CREATE FUNCTION refuse_early_deletion() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (
            SELECT FROM gone WHERE seq IS NULL
                OR seq > coalesce((SELECT max(seq) FROM audit_checkpoints WHERE kind = 'start'), 0)
        ) THEN
            RAISE EXCEPTION 'rows of % are only ever added', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
        END IF;
        RETURN NULL;
    END
    $$
"""
_DELETED_BY_AGE = """
    CREATE TRIGGER deleted_by_age AFTER DELETE ON audit_events REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_early_deletion()
"""
_APPEND_ONLY_BEFORE = """
    CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
"""


def upgrade() -> None:
    for name, kind in (("key_id", sa.BigInteger()), ("seq", sa.BigInteger()), ("hash", sa.LargeBinary())):
        op.add_column("audit_events", sa.Column(name, kind, nullable=True))
    op.create_check_constraint(op.f("ck_audit_events_place_has_hash"), "audit_events", "(seq IS NULL) = (hash IS NULL)")
    op.create_index("ix_audit_events_at", "audit_events", ["at", "id"])
    _create_partial_index("ix_audit_events_key_id", ["key_id", "id"], "key_id IS NOT NULL")
    _create_partial_index("ix_audit_events_waiting", ["id"], "seq IS NULL")
    _create_partial_index("uq_audit_events_seq", ["seq"], "seq IS NOT NULL", unique=True)
    _create_checkpoints()
    op.execute("DROP TRIGGER append_only ON audit_events")
    for statement in (_APPEND_ONLY, _CHAINED_ONCE, _REFUSE_DELETION, _DELETED_BY_AGE):
        op.execute(statement)


def downgrade() -> None:
    for trigger in ("append_only", "chained_once", "deleted_by_age"):
        op.execute(f"DROP TRIGGER {trigger} ON audit_events")
    op.execute("DROP FUNCTION refuse_early_deletion()")
    op.execute(_APPEND_ONLY_BEFORE)
    op.drop_table("audit_checkpoints")
    op.drop_index("ix_audit_events_at", table_name="audit_events")
    op.drop_constraint(op.f("ck_audit_events_place_has_hash"), "audit_events")
    for column in ("key_id", "seq", "hash"):
        # Its partial indexes go with it.
        op.drop_column("audit_events", column)


def _create_partial_index(name: str, columns: list[str], condition: str, *, unique: bool = False) -> None:
    op.create_index(name, "audit_events", columns, unique=unique, postgresql_where=sa.text(condition))


def _create_checkpoints() -> None:
    op.create_table(
        "audit_checkpoints",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_checkpoints")),
        sa.CheckConstraint("kind IN ('head', 'start')", name=op.f("ck_audit_checkpoints_kind_known")),
    )
    op.create_index("ix_audit_checkpoints_kind", "audit_checkpoints", ["kind", "seq"])
