"""Read marks that move while others write."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from content_support import Caller
from conversations_support import Conversations
from kpi_content.messages import service
from kpi_content.messages.schemas import MessageCreate
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


@asynccontextmanager
async def marking(
    conversations: Conversations, address: str, number: int, by: Caller, *, while_held: str
) -> AsyncIterator[tuple[AsyncConnection, asyncio.Task[httpx.Response]]]:
    """A request that moves the mark and waits for ``while_held``, which the connection holds."""
    async with conversations.posts.app.state.database.writing() as connection:
        await connection.execute(text(while_held), {"id": int(address.rpartition("/")[2])})
        request = conversations.client.put(f"{address}/read", json={"number": number}, headers=by.headers)
        task = asyncio.create_task(request)
        await conversations.wait_for_locks(task)
        yield connection, task


async def test_no_writer_waits_while_unread_messages_are_counted(
    committed_conversations: Conversations, bert: Caller
) -> None:
    conversations = committed_conversations
    address = await conversations.add()
    await conversations.share(address, bert)
    await conversations.write(address)
    held = "LOCK TABLE messages IN ACCESS EXCLUSIVE MODE"
    async with marking(conversations, address, 0, bert, while_held=held) as (connection, response):
        free = text("SELECT id FROM conversations FOR NO KEY UPDATE SKIP LOCKED")
        assert len((await connection.execute(free)).all()) == 1
    assert (await response).json() == {"read_number": 0, "unread": 1}


async def test_what_happens_while_a_mark_waits_is_counted(
    committed_conversations: Conversations, anna: Caller, bert: Caller
) -> None:
    conversations = committed_conversations
    address = await conversations.add()
    await conversations.share(address, bert)
    messages = [await conversations.write(address) for _ in range(6)]
    await conversations.delete(f"{address}/messages/{messages[3]['id']}")
    conversation_id = int(address.rpartition("/")[2])
    held = "SELECT FROM conversations WHERE id = :id FOR NO KEY UPDATE"
    async with marking(conversations, address, 2, bert, while_held=held) as (connection, response):
        for number in (1, 5):
            await service.delete(
                connection,
                conversation_id=conversation_id,
                message_id=messages[number - 1]["id"],
                caller=anna.subject,
            )
        new = MessageCreate(content="new")
        await service.create(connection, conversation_id=conversation_id, message=new, caller=anna.subject)
    # 3, 6 and 7: 4 was deleted before, 5 meanwhile.
    assert (await response).json() == {"read_number": 2, "unread": 3}
    assert (await conversations.get(address, by=bert))["unread"] == 3
