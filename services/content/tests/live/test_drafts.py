"""The drafts of one process: how their parts are sent, and when not."""

import asyncio
from collections.abc import Sequence

import pytest
from content_support import Caller
from kpi_content.conversations import service as conversations
from kpi_content.conversations.schemas import ConversationCreate
from kpi_content.live import drafts as drafts_module
from kpi_content.live import repository
from kpi_content.live.drafts import Draft, Drafts
from kpi_content.live.hub import Hub, Subscription
from kpi_content.messages.models import MessageRole
from kpi_shared.database import Database, DirectConnection
from live_support import wait_until


class Desk:
    """Drafts of a process without notifications, and one stream of a conversation of anna's."""

    def __init__(self, database: Database, conversation_id: int) -> None:
        self.hub = Hub(database)
        self.drafts = Drafts(self.hub, database)
        self.conversation_id = conversation_id
        self.statements: list[int] = []
        # What the next statement waits for.
        self.may_send = asyncio.Event()
        self.may_send.set()

    def begin(self, author: Caller) -> Draft:
        return Draft(
            self.drafts, conversation_id=self.conversation_id, author=author.subject, role=MessageRole.ASSISTANT
        )

    async def seen(self, subscription: Subscription) -> list[str]:
        """The texts of the parts."""
        await self.hub.step()
        events = await subscription.take(seconds=0)
        return [event.data.decode().partition('"text":"')[2].partition('"')[0] for event in events]


@pytest.fixture
async def desk(live_database: Database, anna: Caller, monkeypatch: pytest.MonkeyPatch) -> Desk:
    async with live_database.committing() as connection:
        made = await conversations.create(
            connection, conversation=ConversationCreate(title="Of bees"), caller=anna.subject
        )
    desk, send = Desk(live_database, made["id"]), repository.send_of_writers

    async def count_and_send(connection: DirectConnection, *, parts: Sequence[tuple[int, int, str]]) -> list[int]:
        desk.statements.append(len(parts))
        await desk.may_send.wait()
        return await send(connection, parts=parts)

    monkeypatch.setattr(repository, "send_of_writers", count_and_send)
    return desk


async def test_one_statement_sends_what_waits_of_all_drafts(desk: Desk, anna: Caller) -> None:
    with desk.hub.join(desk.conversation_id, reader_id=1, after=0) as subscription:
        drafts = [desk.begin(anna) for _ in range(50)]
        for text in ("a", "b"):
            for draft in drafts:
                draft.add(text)
        await desk.drafts.send_waiting()
        assert await desk.seen(subscription) == ["ab"] * 50
    assert desk.statements == [50]


async def test_a_statement_has_a_bound(desk: Desk, anna: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drafts_module, "_MOST_SENT", 150)
    with desk.hub.join(desk.conversation_id, reader_id=1, after=0) as subscription:
        draft = desk.begin(anna)
        draft.add("".join(f"{number:04}" * 300 for number in range(200)))
        await desk.drafts.send_waiting()
        # Each part has 1200 characters, and they come in their order.
        assert [text[:4] for text in await desk.seen(subscription)] == [f"{number:04}" for number in range(200)]
    assert desk.statements == [150, 50]


async def test_parts_of_those_who_may_not_write_are_not_sent(desk: Desk, anna: Caller, bert: Caller) -> None:
    refused: list[str] = []
    with desk.hub.join(desk.conversation_id, reader_id=1, after=0) as subscription:
        own, strange = desk.begin(anna), desk.begin(bert)
        for name, draft in (("own", own), ("strange", strange)):
            draft.on_refusal = lambda name=name: refused.append(name)
            draft.add(name)
        await desk.drafts.send_waiting()
        strange.add("more")
        await desk.drafts.send_waiting()
        assert await desk.seen(subscription) == ["own"]
    assert refused == ["strange"]
    assert desk.statements == [2]


async def test_a_draft_that_is_stopped_waits_for_what_is_being_sent(desk: Desk, anna: Caller) -> None:
    """So that none of its parts comes after its message."""
    draft, other = desk.begin(anna), desk.begin(anna)
    draft.add("sent")
    desk.may_send.clear()
    sending = asyncio.create_task(desk.drafts.send_waiting())
    async with asyncio.timeout(20):
        await wait_until(lambda: bool(desk.statements))
        draft.add("not sent")
        # That of another one is not waited for.
        await other.stop()
        stopping = asyncio.create_task(draft.stop())
        await asyncio.sleep(0)
        assert not stopping.done()
        desk.may_send.set()
        await asyncio.gather(stopping, sending)
    await desk.drafts.send_waiting()
    assert desk.statements == [1]
