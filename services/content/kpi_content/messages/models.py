"""The messages table."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from kpi_shared.records.models import row_id
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    ForeignKey,
    Index,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR
from sqlmodel import Field

from kpi_content.tables import Table

MAX_CONTENT = 100_000
# The database's function search_vector makes of a text what the search column of posts is. A tsvector holds 1 MiB, and
# a text may become longer when it is normalized and folded: what then comes after 100,000 characters is left out. The
# word for the conversation, which no text contains, lets a search read only the entries of what the caller may see.
SEARCH_VECTOR = "(search_vector(content) || array_to_tsvector(ARRAY['#'::text || conversation_id]))"


class MessageRole(StrEnum):
    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class Message(Table, table=True):
    """``number`` is its place in the conversation: without gaps when they are given, and never given again."""

    __tablename__ = "messages"
    __table_args__ = (
        UniqueConstraint("conversation_id", "number"),
        CheckConstraint("role IN ('system', 'user', 'assistant')", name="role"),
        CheckConstraint(f"length(content) <= {MAX_CONTENT}", name="content_length"),
        CheckConstraint("number >= 1", name="number_positive"),
        Index("ix_messages_search", "search", postgresql_using="gin", postgresql_with={"gin_pending_list_limit": 256}),
    )

    id: int | None = row_id()
    conversation_id: int = Field(
        sa_column=Column(BigInteger, ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False)
    )
    number: int = Field(sa_type=BigInteger)
    role: str = Field(sa_type=Text)
    content: str = Field(sa_type=Text)
    # The column is named metadata, which is an attribute of every table here.
    details: dict[str, Any] | None = Field(default=None, sa_column=Column("metadata", JSONB(none_as_null=True)))
    # No foreign key: its check would need an index that nothing else uses.
    author_id: int = Field(sa_type=BigInteger)
    created_at: datetime = Field(sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()})
    # Its upload was incomplete.
    is_interrupted: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    search: str = Field(sa_column=Column(TSVECTOR, Computed(SEARCH_VECTOR, persisted=True), nullable=False))
