"""The posts table."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlmodel import Field

from kpi_content.tables import Table

MAX_TITLE = 300
MAX_CONTENT = 40_000

# Every ASCII punctuation mark separates words. So "Node.js", "postgres/mysql" and "<b>" become the words that people
# see in them, where PostgreSQL's parser would make a host name, a file path and a tag of them.
SEPARATORS = r"[!-/:-@[-`{-~]+"


def _words(column: str) -> str:
    return f"regexp_replace({column}, '{SEPARATORS}'::text, ' '::text, 'g'::text)"


# Both forms of every word: the word as written with its position, for phrases and prefixes, and its English stem, so
# that "database" finds "databases". See docs/adr/0007-search.md.
SEARCH_VECTOR = (
    f"(setweight(to_tsvector('simple'::regconfig, {_words('title')}), 'A'::\"char\")"
    f" || to_tsvector('simple'::regconfig, {_words('content')}))"
    f" || strip(to_tsvector('english'::regconfig, {_words('(title || chr(10)) || content')}))"
)
# Ten times as many votes weigh as much as 12.5 hours (45,000 s). See docs/adr/0008-votes-and-ranking.md.
HOT_SCORE = (
    "log10(GREATEST(votes, 1)::double precision)"
    " + EXTRACT(epoch FROM (date AT TIME ZONE 'UTC'::text))::double precision / 45000::double precision"
)


def _timestamp(**more: Any) -> Any:  # noqa: ANN401 SQLModel's own arguments and result
    return Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()}, **more)


class Post(Table, table=True):
    __tablename__ = "posts"
    __table_args__ = (
        CheckConstraint(f"length(title) >= 1 AND length(title) <= {MAX_TITLE}", name="title_length"),
        CheckConstraint(f"length(content) <= {MAX_CONTENT}", name="content_length"),
        CheckConstraint("votes >= 0", name="votes_not_negative"),
        # One for each order of the public list. They are read backwards, so that new posts are appended to them.
        Index("ix_posts_new", "date", "id", postgresql_where=text("published")),
        Index("ix_posts_top", "votes", "id", postgresql_where=text("published")),
        Index("ix_posts_hot", "hot", "id", postgresql_where=text("published")),
        Index("ix_posts_owner", "owner_id", "date", "id"),
        Index("ix_posts_search", "search", postgresql_using="gin", postgresql_with={"gin_pending_list_limit": 256}),
    )

    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(always=False), primary_key=True))
    owner_id: int = Field(sa_column=Column(BigInteger, ForeignKey("authors.id"), nullable=False))
    title: str = Field(sa_type=Text)
    content: str = Field(sa_type=Text)
    published: bool = Field(default=True, sa_column_kwargs={"server_default": text("true")})
    date: datetime = _timestamp()
    updated_at: datetime = _timestamp()
    # Equal to the number of the post's rows in the votes table; it only changes together with them.
    votes: int = Field(default=0, sa_type=Integer, sa_column_kwargs={"server_default": text("0")})
    hot: float = Field(sa_column=Column(Double, Computed(HOT_SCORE, persisted=True), nullable=False))
    search: str = Field(sa_column=Column(TSVECTOR, Computed(SEARCH_VECTOR, persisted=True), nullable=False))
