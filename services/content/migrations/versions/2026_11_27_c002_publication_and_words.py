"""published_at, and search_words, which makes the search independent of the server's locale

The table is rewritten once, for the three columns together; reads wait for that. Code before this one still works: it
inserts no published_at, and the lists take ``date`` for it. Its list of new posts is in the right order, but sorted
without an index.

Revision ID: c002
Revises: c001
"""

from alembic import op

revision = "c002"
down_revision = "c001"
branch_labels = None
depends_on = None

_IGNORED = (
    r"[\u00ad\u0300-\u036f\u061c\u180e\u200c-\u200f\u202a-\u202e\u2060-\u2069\u20d0-\u20ff\ufe00-\ufe0f\ufeff"
    r"\U000e0020-\U000e007f]+"
)
_LETTERS = ("\u0131\u03c2øłđħ", "i\u03c3oldh")
_PAIRS = (("ß", "ss"), ("æ", "ae"), ("œ", "oe"))
# In the builtin collation the classes are those of Unicode, whatever the locale of the database is.
_SEPARATORS = r"[[:punct:][:space:][:cntrl:]\u200b\U0001f100-\U0001f1ff]+"

_COLUMNS = """
    ALTER TABLE posts
        ALTER COLUMN hot SET EXPRESSION AS ({hot}),
        ALTER COLUMN search SET EXPRESSION AS ({search})
"""
_HOT = "log10(GREATEST(votes, 1)) + EXTRACT(epoch FROM {time} AT TIME ZONE 'UTC')::double precision / 45000"
_SEARCH = (
    "setweight(to_tsvector('simple'::regconfig, {title}), 'A')"
    " || to_tsvector('simple'::regconfig, {content})"
    " || strip(to_tsvector('english'::regconfig, {both}))"
)
_TEXTS = {"title": "title", "content": "content", "both": "title || chr(10) || content"}


def upgrade() -> None:
    _create_function()
    op.execute("DROP INDEX ix_posts_new, ix_posts_owner")
    op.execute("ALTER TABLE posts ADD COLUMN published_at timestamptz")
    _alter(
        hot=_HOT.format(time="COALESCE(published_at, date)"),
        search=_SEARCH.format(**{name: f"search_words({words})" for name, words in _TEXTS.items()}),
        # Filled by the rewrite itself: an UPDATE would write each row a second time.
        more=", ALTER COLUMN published_at TYPE timestamptz USING CASE WHEN published THEN date END",
    )
    op.execute("CREATE INDEX ix_posts_new ON posts ((COALESCE(published_at, date)), id) WHERE published")
    op.execute("CREATE INDEX ix_posts_owner ON posts (owner_id, (COALESCE(published_at, date)), id)")
    op.execute("ANALYZE posts")


def downgrade() -> None:
    op.execute("DROP INDEX ix_posts_new, ix_posts_owner")
    words = r"regexp_replace({}, '[!-/\:-@[-`{{-~]+', ' ', 'g')"
    _alter(
        hot=_HOT.format(time="date"),
        search=_SEARCH.format(**{name: words.format(text) for name, text in _TEXTS.items()}),
    )
    op.execute("ALTER TABLE posts DROP COLUMN published_at")
    op.execute("CREATE INDEX ix_posts_new ON posts (date, id) WHERE published")
    op.execute("CREATE INDEX ix_posts_owner ON posts (owner_id, date, id)")
    op.execute("DROP FUNCTION search_words")
    op.execute("ANALYZE posts")


def _alter(*, hot: str, search: str, more: str = "") -> None:
    op.execute(_COLUMNS.format(hot=hot, search=search) + more)


def _create_function() -> None:
    folded = (
        f"translate(lower(normalize(regexp_replace(normalize($1, NFKD), '{_IGNORED}', '', 'g'), NFKC)"
        f" COLLATE pg_c_utf8), '{_LETTERS[0]}', '{_LETTERS[1]}')"
    )
    for letter, pair in _PAIRS:
        folded = f"replace({folded}, '{letter}', '{pair}')"
    separators = _SEPARATORS.replace(":", r"\:")
    # In PL/pgSQL, which keeps the expression for the session: an SQL function is planned anew by each INSERT.
    # ASCII takes a short way to the same result.
    op.execute(rf"""
        CREATE FUNCTION search_words(text) RETURNS text LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
        BEGIN
            IF octet_length($1) = length($1) THEN
                RETURN regexp_replace(lower($1 COLLATE pg_c_utf8), '[^a-z0-9]+', ' ', 'g');
            END IF;
            RETURN regexp_replace({folded}, '{separators}', ' ', 'g');
        END $$
    """)
