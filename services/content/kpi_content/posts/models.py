"""The posts table."""

from datetime import datetime

from kpi_shared.records.models import row_id, write_time
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlmodel import Field

from kpi_content.tables import Table

MAX_TITLE = 300
MAX_CONTENT = 40_000

# The function search_words folds a text and replaces everything between words by a blank. So "Node.js",
# "postgres/mysql" and "<b>" become the words that people see in them, where PostgreSQL's parser would make a host name,
# a file path and a tag of them.
#
# Both forms of every word: the word as written with its position, for phrases and prefixes, and its English stem, so
# that "database" finds "databases". See docs/adr/0007-search.md.
SEARCH_VECTOR = (
    "(setweight(to_tsvector('simple'::regconfig, search_words(title)), 'A'::\"char\")"
    " || to_tsvector('simple'::regconfig, search_words(content)))"
    " || strip(to_tsvector('english'::regconfig, search_words((title || chr(10)) || content)))"
)
# When a post entered the lists. published_at is NULL for a draft, and for a post that code from before migration c002
# has published, since it did not know the column.
LISTED_AT = "COALESCE(published_at, date)"
# Ten times as many votes weigh as much as 12.5 hours (45,000 s). See docs/adr/0008-votes-and-ranking.md.
HOT_SCORE = (
    "log10(GREATEST(votes, 1)::double precision)"
    f" + EXTRACT(epoch FROM ({LISTED_AT} AT TIME ZONE 'UTC'::text))::double precision / 45000::double precision"
)


class Post(Table, table=True):
    __tablename__ = "posts"
    __table_args__ = (
        CheckConstraint(f"length(title) >= 1 AND length(title) <= {MAX_TITLE}", name="title_length"),
        CheckConstraint(f"length(content) <= {MAX_CONTENT}", name="content_length"),
        CheckConstraint("votes >= 0", name="votes_not_negative"),
        # One for each order of the public list. They are read backwards, so that new posts are appended to them.
        Index("ix_posts_new", text(LISTED_AT), "id", postgresql_where=text("published")),
        Index("ix_posts_top", "votes", "id", postgresql_where=text("published")),
        Index("ix_posts_hot", "hot", "id", postgresql_where=text("published")),
        Index("ix_posts_owner", "owner_id", text(LISTED_AT), "id"),
        Index("ix_posts_search", "search", postgresql_using="gin", postgresql_with={"gin_pending_list_limit": 256}),
    )

    id: int | None = row_id()
    owner_id: int = Field(sa_column=Column(BigInteger, ForeignKey("authors.id"), nullable=False))
    title: str = Field(sa_type=Text)
    content: str = Field(sa_type=Text)
    published: bool = Field(default=True, sa_column_kwargs={"server_default": text("true")})
    date: datetime = write_time()
    # Set when the post is first published, and kept from then on: hiding a post and showing it again moves it nowhere.
    published_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    updated_at: datetime = write_time()
    # Equal to the number of the post's rows in the votes table; it only changes together with them.
    votes: int = Field(default=0, sa_type=Integer, sa_column_kwargs={"server_default": text("0")})
    hot: float = Field(sa_column=Column(Double, Computed(HOT_SCORE, persisted=True), nullable=False))
    search: str = Field(sa_column=Column(TSVECTOR, Computed(SEARCH_VECTOR, persisted=True), nullable=False))
