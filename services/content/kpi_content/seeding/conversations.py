"""Conversations that accounts have with an assistant, a few messages each."""

from datetime import UTC, datetime
from itertools import cycle, islice
from typing import Any

from kpi_shared.caller import Role, Subject
from kpi_shared.seeding import repository as seeds
from kpi_shared.seeding.factories import NumberedFactory
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_content.authors import repository as authors
from kpi_content.conversations import service as conversations
from kpi_content.conversations.models import Conversation
from kpi_content.conversations.schemas import ConversationCreate
from kpi_content.messages import service as messages
from kpi_content.messages.models import MessageRole
from kpi_content.messages.schemas import MessageCreate

AFTER = ("authors",)
_MESSAGES = (
    MessageCreate(role=MessageRole.USER, content="How do bees tell the way?"),
    MessageCreate(role=MessageRole.ASSISTANT, content="They dance: the angle is the direction."),
    MessageCreate(role=MessageRole.USER, content="And in the dark of the hive?"),
)


class ConversationFactory(NumberedFactory[ConversationCreate]):
    @classmethod
    def describe(cls, number: int) -> dict[str, Any]:
        return {"title": f"Conversation {number}"}


async def seed(connection: AsyncConnection, *, count: int) -> int:
    """Bring the table to ``count`` conversations, and return how many were added."""
    missing = count - await seeds.count_rows(connection, Conversation)
    if missing <= 0:
        return 0
    ConversationFactory.last_number = await seeds.find_highest_id(connection, Conversation)
    owners = cycle((await authors.find_names(connection, most=1_000)).items())
    for user_id, username in islice(owners, missing):
        await _add(connection, _speak_as(user_id, username))
    return missing


async def _add(connection: AsyncConnection, owner: Subject) -> None:
    row = await conversations.create(connection, conversation=ConversationFactory.build(), caller=owner)
    for message in _MESSAGES:
        await messages.create(connection, conversation_id=row["id"], message=message, caller=owner)


def _speak_as(user_id: int, username: str) -> Subject:
    """The account as its token would describe it."""
    now = datetime.now(UTC)
    return Subject(
        id=user_id,
        username=username,
        role=Role.USER,
        session_id="seed",
        token_id="seed",  # noqa: S106 no token
        expires_at=now,
    )
