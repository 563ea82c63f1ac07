"""Pieces of statements that write in a conversation, for the nouns whose rows belong to one.

Every change locks the conversation first: rows of members are locked by those only who hold it. So nothing deadlocks, a
member who has been removed writes nothing more, and events have the order of what they describe.
"""

from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Text,
    and_,
    bindparam,
    cast,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlmodel import col

from kpi_content.conversations.models import Conversation, ConversationEvent, Member, MemberRole

CHANNEL = "kpi_conversations"
MAX_EXCERPT = 200

# SQLAlchemy would write a value that has the name of a column into it, so none has.
conversation = bindparam("conversation", type_=BigInteger)
caller = bindparam("caller", type_=BigInteger)


def lock_writer() -> CTE:
    """The row of the caller, if it is one of a member who may write: a statement begins with it.

    Both locks follow a row to its newest version, so that what happened while they were waited for is seen.
    """
    its_member = and_(col(Member.conversation_id) == conversation, col(Member.user_id) == caller)
    locked = (
        select(col(Conversation.id))
        # Not for strangers, who could otherwise make the members wait.
        .where(col(Conversation.id) == conversation, select(col(Member.user_id)).where(its_member).exists())
        .with_for_update(key_share=True)
        .cte("locked")
    )
    member = (
        select(col(Member.conversation_id), col(Member.user_id))
        .join(locked, locked.c.id == col(Member.conversation_id))
        .where(its_member, col(Member.role) != MemberRole.READER.value)
    )
    return member.with_for_update(key_share=True, of=Member).cte("member")


def excerpt_of(content: ColumnElement[str]) -> ColumnElement[str]:
    """The beginning of a message in one line."""
    line = func.regexp_replace(func.left(content, 2 * MAX_EXCERPT), r"\s+", " ", "g")
    return func.left(func.btrim(line), MAX_EXCERPT)


def add_number(member: CTE, content: ColumnElement[str]) -> CTE:
    """Give the next message its number and its event its place, and count the message as the last one.

    The conversation stays locked, so the order of the numbers is that of the commits.
    """
    return (
        update(Conversation)
        .where(col(Conversation.id) == member.c.conversation_id)
        .values(
            last_number=Conversation.last_number + 1,
            last_event=Conversation.last_event + 1,
            message_count=Conversation.message_count + 1,
            last_message_at=func.clock_timestamp(),
            last_excerpt=excerpt_of(content),
        )
        .returning(
            col(Conversation.id),
            col(Conversation.last_number),
            col(Conversation.last_event),
            col(Conversation.last_message_at),
        )
        .cte("numbered")
    )


def remove_number(newest: CTE) -> CTE:
    """Count one message less, and give its event a place. ``newest`` is the last message that stays, or no row."""
    return (
        update(Conversation)
        .where(col(Conversation.id) == conversation)
        .values(
            last_event=Conversation.last_event + 1,
            message_count=Conversation.message_count - 1,
            last_message_at=select(newest.c.created_at).scalar_subquery(),
            last_excerpt=select(newest.c.excerpt).scalar_subquery(),
        )
        .returning(
            *(col(Conversation.id), col(Conversation.last_event)), func.clock_timestamp().label("last_message_at")
        )
        .cte("numbered")
    )


def mark_own_as_read(numbered: CTE) -> CTE:
    """The writer has read everything up to the new message."""
    return (
        update(Member)
        .where(col(Member.conversation_id) == numbered.c.id, col(Member.user_id) == caller)
        .values(read_number=numbered.c.last_number, read_gaps=0)
        .returning(col(Member.user_id))
        .cte("marked")
    )


def add_event(numbered: CTE, *, kind: str, data: ColumnElement[Any], beside: CTE) -> CTE:
    """The event of a message, whose row is ``beside``."""
    event = select(numbered.c.id, numbered.c.last_event, literal(kind, Text), data, numbered.c.last_message_at).join(
        beside, beside.c.conversation_id == numbered.c.id
    )
    names = ["conversation_id", "seq", "type", "data", "occurred_at"]
    return insert(ConversationEvent).from_select(names, event).returning(col(ConversationEvent.seq)).cte("event")


def notify(numbered: CTE) -> ColumnElement[Any]:
    """Wakes the streams of the conversation when the transaction commits."""
    payload = cast(numbered.c.id, Text) + " " + cast(numbered.c.last_event, Text)
    return func.pg_notify(CHANNEL, payload)
