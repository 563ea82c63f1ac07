"""The SQL of conversations. A statement is built once; a request only binds its values."""

from collections.abc import Callable
from typing import Any, NamedTuple

from kpi_shared.caller import Subject
from kpi_shared.database import DirectConnection
from kpi_shared.database.statements import Statement
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    SQLColumnExpression,
    Text,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    not_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from kpi_content.authors.repository import author_name, join_author, remember_author
from kpi_content.conversations import member_repository as members
from kpi_content.conversations.errors import ConversationNotFoundError
from kpi_content.conversations.filters import Position
from kpi_content.conversations.models import Conversation, ConversationEvent, Member, MemberRole
from kpi_content.conversations.rows import COLUMNS, ConversationRow, make_conversation
from kpi_content.conversations.writing_repository import caller, conversation

_columns = Conversation.__table__.c  # type: ignore[attr-defined]
_members = Member.__table__.c  # type: ignore[attr-defined]
_shown = tuple(_columns[name] for name in COLUMNS)
_unread = (_columns.last_number - _members.read_number - _members.read_gaps).label("unread")

_added = (
    insert(Conversation)
    .values(title=bindparam("title", type_=Text), owner_id=bindparam("owner_id"))
    .returning(*_shown, _columns.owner_id)
    .cte("added")
)
_owner_role = literal_column(f"'{MemberRole.OWNER}'", Text)
_none = literal_column("0", BigInteger)
_owner = (
    insert(Member)
    .from_select(["conversation_id", "user_id", "role"], select(_added.c.id, _added.c.owner_id, _owner_role))
    .returning(col(Member.user_id))
    .cte("owner")
)
# PostgreSQL checks the foreign key at the end of the whole statement, when the author is there.
_add = select(
    _added,
    bindparam("username", type_=Text).label("username"),
    _owner_role.label("role"),
    _none.label("read_number"),
    _none.label("unread"),
).add_cte(_added, _owner, remember_author())

_visible = (
    join_author(
        select(*_shown, _columns.owner_id, author_name, _members.role, _members.read_number, _unread), _columns.owner_id
    )
    .join(Member, col(Member.conversation_id) == _columns.id)
    .where(col(Member.user_id) == caller)
)
_read = _visible.where(_columns.id == conversation)
_get = Statement(_read, make_conversation)
_activity = func.coalesce(_columns.last_message_at, _columns.created_at)
_last = tuple_(bindparam("activity", type_=_columns.created_at.type), bindparam("last_id", type_=BigInteger))
_listed = _visible.order_by(_activity.desc(), _columns.id.desc()).limit(bindparam("most", type_=BigInteger))
# The conversations of one member are sorted for each page: their activity changes with every message.
_first_page = Statement(_listed, make_conversation)
_next_page = Statement(_listed.where(tuple_(_activity, _columns.id) < _last), make_conversation)
# Not for strangers, who could otherwise make the members wait.
_lock = text("""
    SELECT last_number FROM conversations WHERE id = :conversation
    AND EXISTS (SELECT FROM conversation_members WHERE conversation_id = :conversation AND user_id = :caller)
    FOR NO KEY UPDATE
""")
_rename = text("UPDATE conversations SET title = :title, updated_at = clock_timestamp() WHERE id = :conversation")
_hide = text("UPDATE conversations SET deleted_at = clock_timestamp() WHERE id = :conversation")
_oldest_owner = members.select_owners().order_by(_members.joined_at, _members.user_id).limit(1).scalar_subquery()
_replace_owner = (
    update(Conversation)
    .where(_columns.id == conversation, _columns.owner_id == bindparam("user", type_=BigInteger))
    .values(owner_id=_oldest_owner)
)
_is_unused = and_(
    _columns.deleted_at.is_not(None),
    not_(select(col(ConversationEvent.seq)).where(col(ConversationEvent.conversation_id) == _columns.id).exists()),
)


class Locked(NamedTuple):
    """The caller's role, and the newest number."""

    role: MemberRole
    last_number: int


def select_counters() -> Select[*tuple[Any, ...]]:
    """The newest number and the newest event of a conversation of the caller's; others count beside them."""
    counters = select(_columns.last_number, _columns.last_event).where(_columns.id == conversation)
    return members.join_caller(counters, _columns.id)


def join_deleted(statement: Select[*tuple[Any, ...]], of: SQLColumnExpression[int]) -> Select[*tuple[Any, ...]]:
    """Only rows of deleted conversations, whose ids are ``of``."""
    return statement.join(Conversation, _columns.id == of).where(_columns.deleted_at.is_not(None))


async def add(connection: AsyncConnection, *, title: str, owner: Subject) -> ConversationRow:
    """Add a conversation; the same statement adds or renames its owner's author."""
    author = {"owner_id": owner.id, "username": owner.username, "version": owner.account_version or 0}
    return make_conversation((await connection.execute(_add, {"title": title, **author})).one())


async def get(connection: DirectConnection, *, conversation_id: int, caller_id: int) -> ConversationRow | None:
    return await _get.one_or_none(connection, {"conversation": conversation_id, "caller": caller_id})


async def get_or_raise(connection: DirectConnection, *, conversation_id: int, caller_id: int) -> ConversationRow:
    row = await get(connection, conversation_id=conversation_id, caller_id=caller_id)
    if row is None:
        raise ConversationNotFoundError
    return row


async def get_page(
    connection: DirectConnection, *, caller_id: int, limit: int, after: Position | None
) -> list[ConversationRow]:
    values = {"caller": caller_id, "most": limit}
    if after is None:
        return await _first_page.all(connection, values)
    return await _next_page.all(connection, values | {"activity": after.activity, "last_id": after.id})


async def read(connection: AsyncConnection, *, conversation_id: int, caller_id: int) -> ConversationRow:
    """A conversation of the caller's, as the transaction has left it."""
    found = await connection.execute(_read, {"conversation": conversation_id, "caller": caller_id})
    return make_conversation(found.one())


async def lock(connection: AsyncConnection, *, conversation_id: int, caller_id: int) -> Locked:
    """Lock a conversation of the caller's: nothing in it is changed by others until the end of the transaction.

    ConversationNotFoundError if the caller is no member.
    """
    number = await connection.scalar(_lock, {"conversation": conversation_id, "caller": caller_id})
    # The caller may have been removed while this waited.
    role = await members.find_role(connection, conversation_id=conversation_id, user_id=caller_id)
    if number is None or role is None:
        raise ConversationNotFoundError
    return Locked(role, int(number))


async def rename(connection: AsyncConnection, *, conversation_id: int, title: str) -> None:
    await connection.execute(_rename, {"conversation": conversation_id, "title": title})


async def hide(connection: AsyncConnection, *, conversation_id: int) -> None:
    """Leave the rest to ``forget_deleted``. It has no members any more, so no one sees it."""
    await connection.execute(_hide, {"conversation": conversation_id})


async def replace_owner(connection: AsyncConnection, *, conversation_id: int, user_id: int) -> None:
    """Show the one who has been an owner for longest instead of ``user_id``, who is an owner no more."""
    await connection.execute(_replace_owner, {"conversation": conversation_id, "user": user_id})


async def forget_deleted(
    connection: AsyncConnection,
    *,
    has_messages: Callable[[SQLColumnExpression[int]], ColumnElement[bool]],
    most: int,
) -> int:
    """Delete conversations of which nothing else is left, and return how many there were."""
    unused = select(_columns.id).where(_is_unused, not_(has_messages(_columns.id))).limit(most)
    found = unused.with_for_update(skip_locked=True).scalar_subquery()
    return (await connection.execute(delete(Conversation).where(_columns.id.in_(found)))).rowcount
