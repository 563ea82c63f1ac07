"""The SQL of conversations. A statement is built once; a request only binds its values."""

from kpi_shared.caller import Subject
from kpi_shared.database import DirectConnection
from sqlalchemy import BigInteger, Text, bindparam, insert, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from kpi_content.authors.repository import author_name, join_author, remember_author
from kpi_content.conversations.errors import ConversationNotFoundError
from kpi_content.conversations.models import Conversation, Member, MemberRole
from kpi_content.conversations.rows import COLUMNS, ConversationRow, make_conversation
from kpi_content.conversations.writing_repository import caller, conversation
from kpi_content.statements import Statement

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
_get = Statement(_visible.where(_columns.id == conversation), make_conversation)
_find_role = select(col(Member.role)).where(col(Member.conversation_id) == conversation, col(Member.user_id) == caller)


async def add(connection: AsyncConnection, *, title: str, owner: Subject) -> ConversationRow:
    """Add a conversation; the same statement adds or renames its owner's author."""
    author = {"owner_id": owner.id, "username": owner.username, "version": owner.account_version or 0}
    return make_conversation((await connection.execute(_add, {"title": title, **author})).one())


async def get(connection: DirectConnection, *, conversation_id: int, caller_id: int) -> ConversationRow | None:
    return await _get.one_or_none(connection, {"conversation": conversation_id, "caller": caller_id})


async def find_role(connection: AsyncConnection, *, conversation_id: int, caller_id: int) -> MemberRole | None:
    """The caller's role; None if the caller is not a member."""
    role = await connection.scalar(_find_role, {"conversation": conversation_id, "caller": caller_id})
    return None if role is None else MemberRole(role)


async def get_or_raise(connection: DirectConnection, *, conversation_id: int, caller_id: int) -> ConversationRow:
    row = await get(connection, conversation_id=conversation_id, caller_id=caller_id)
    if row is None:
        raise ConversationNotFoundError
    return row
