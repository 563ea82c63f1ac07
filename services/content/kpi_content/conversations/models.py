"""The tables of conversations, their members and their events."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from kpi_shared.records.models import row_id, write_time
from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, ForeignKey, Index, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field

from kpi_content.tables import Table

MAX_TITLE = 200


class MemberRole(StrEnum):
    """Readers read; writers also write messages; owners also rename, share and delete the conversation."""

    OWNER = "owner"
    WRITER = "writer"
    READER = "reader"


def _counter() -> Any:  # noqa: ANN401 as above
    # A default of the field would become one of the column, which statements then send.
    return Field(default=0, sa_column=Column(BigInteger, nullable=False, server_default=text("0")))


def _conversation_id() -> Any:  # noqa: ANN401 as above
    return Field(
        sa_column=Column(
            BigInteger, ForeignKey("conversations.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
        )
    )


class Conversation(Table, table=True):
    """Its row is locked by every change of its members, messages and events, which so have one order."""

    __tablename__ = "conversations"
    __table_args__ = (
        CheckConstraint(f"length(title) >= 1 AND length(title) <= {MAX_TITLE}", name="title_length"),
        CheckConstraint("message_count >= 0 AND message_count <= last_number", name="counts"),
        Index("ix_conversations_deleted_at", "deleted_at", postgresql_where=text("deleted_at IS NOT NULL")),
    )

    id: int | None = row_id()
    title: str = Field(sa_type=Text)
    # A member with the role of an owner, whose foreign key is there.
    owner_id: int = Field(sa_type=BigInteger)
    created_at: datetime = write_time()
    updated_at: datetime = write_time()
    # The newest number that a message has got, and the newest place of an event. Neither is given twice.
    last_number: int = _counter()
    last_event: int = _counter()
    message_count: int = _counter()
    # Of the newest message that has not been deleted.
    last_message_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    last_excerpt: str | None = Field(default=None, sa_type=Text)
    # It has no members any more, so no one sees it; its messages are deleted in small steps.
    deleted_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))


class Member(Table, table=True):
    """An account that sees a conversation."""

    __tablename__ = "conversation_members"
    __table_args__ = (
        CheckConstraint("role IN ('owner', 'writer', 'reader')", name="role"),
        CheckConstraint("read_number >= 0 AND read_gaps >= 0", name="read_mark"),
        Index("ix_conversation_members_user_id_conversation_id", "user_id", "conversation_id"),
    )

    conversation_id: int = _conversation_id()
    user_id: int = Field(
        sa_column=Column(BigInteger, ForeignKey("authors.id"), primary_key=True, autoincrement=False),
    )
    role: str = Field(sa_type=Text)
    # The messages up to this number have been read.
    read_number: int = _counter()
    # How many numbers above it belong to deleted messages, so that unread ones are counted by a subtraction.
    read_gaps: int = _counter()
    joined_at: datetime = write_time()


class ConversationEvent(Table, table=True):
    """What happened in a conversation, in the order of ``seq``, without gaps."""

    __tablename__ = "conversation_events"
    __table_args__ = (Index("ix_conversation_events_occurred_at", "occurred_at"),)

    conversation_id: int = _conversation_id()
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    type: str = Field(sa_type=Text)
    data: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    occurred_at: datetime = write_time()
