"""The hub of one process: what its streams get, when, and when they end."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest
from content_support import Caller
from kpi_content.conversations import service as conversations
from kpi_content.conversations.schemas import ConversationCreate
from kpi_content.live import hub as hub_module
from kpi_content.live import reading, streams
from kpi_content.live.hub import Hub, Subscription
from kpi_content.live.reading import LiveEvent
from kpi_content.live.streams import Beginning, EventStream
from kpi_content.messages import service as messages
from kpi_content.messages.schemas import MessageCreate
from kpi_shared.background import running
from kpi_shared.database import Database
from live_support import wait_until
from sqlalchemy import text

READY = b'event: ready\ndata: {"seq":0}\nid: 0\nretry: 1000\n\n'


class House:
    """A hub without notifications, a conversation, and what is written in it."""

    def __init__(self, hub: Hub, database: Database, owner: Caller, conversation_id: int) -> None:
        self.hub = hub
        self._database = database
        self._owner = owner.subject
        self.id = conversation_id

    async def write(self, content: str = "hello", *, count: int = 1) -> None:
        for _ in range(count):
            async with self._database.committing() as connection:
                await messages.create(
                    connection, conversation_id=self.id, message=MessageCreate(content=content), caller=self._owner
                )

    def stream(self, *, newest: int = 0) -> EventStream:
        beginning = Beginning(0, is_reset=False)
        return EventStream(
            self.hub, conversation_id=self.id, reader_id=self._owner.id, beginning=beginning, newest=newest
        )


@pytest.fixture
async def house(live_database: Database, anna: Caller) -> House:
    async with live_database.committing() as connection:
        made = await conversations.create(
            connection, conversation=ConversationCreate(title="Of bees"), caller=anna.subject
        )
    return House(Hub(live_database), live_database, anna, made["id"])


@pytest.fixture
async def working_house(house: House) -> AsyncIterator[House]:
    async with running(house.hub.run(), name="hub"):
        yield house


async def test_without_notifications_the_hub_looks_by_itself(working_house: House) -> None:
    chunks = working_house.stream().chunks()
    assert (await anext(chunks)).startswith(b"event: ready")
    for number in (1, 2):
        waiting = asyncio.ensure_future(anext(chunks))
        await working_house.write(f"message {number}")
        async with asyncio.timeout(20):
            assert f"message {number}".encode() in await waiting
    await chunks.aclose()
    assert working_house.hub.streams == 0
    assert not working_house.hub.is_followed(working_house.id)


@pytest.mark.parametrize(("is_listening", "looks"), [(False, 3), (True, 1)])
async def test_each_step_looks_unless_notifications_come(
    house: House, monkeypatch: pytest.MonkeyPatch, *, is_listening: bool, looks: int
) -> None:
    """With them the first one only, until it is time to check."""
    found: list[int] = []

    async def count(_database: Database, places: Mapping[int, int]) -> dict[int, list[LiveEvent]]:
        found.extend(places)
        return {}

    monkeypatch.setattr(reading, "read_changes", count)
    monkeypatch.setattr(Hub, "is_listening", is_listening)
    with house.hub.join(house.id, reader_id=1, after=0):
        for _ in range(3):
            await house.hub.step()
    assert found == [house.id] * looks
    assert hub_module.SCHEDULE.interval * 1.1 <= hub_module.POLL_SECONDS


async def test_the_lag_grows_while_looks_fail(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 100.0
    monkeypatch.setattr(hub_module, "monotonic", lambda: clock)
    await house.hub.step()
    with house.hub.join(house.id, reader_id=1, after=0):
        clock += 7
        with monkeypatch.context() as broken:
            broken.setattr(reading, "read_changes", None)
            with pytest.raises(TypeError):
                await house.hub.step()
        assert house.hub.lag == 7
        await house.hub.step()
        assert house.hub.lag == 0
        clock += 1
        assert house.hub.lag == 1
    assert house.hub.lag == 0


async def test_one_look_serves_all_streams_and_none_holds_a_connection(
    working_house: House, live_database: Database
) -> None:
    all_chunks = [working_house.stream().chunks() for _ in range(100)]
    for chunks in all_chunks:
        await anext(chunks)
    waiting = [asyncio.ensure_future(anext(chunks)) for chunks in all_chunks]
    await wait_until(lambda: working_house.hub.streams == 100)
    assert live_database.queues["reads"].waiting == 0
    await working_house.write()
    working_house.hub.note(working_house.id, 1)
    async with asyncio.timeout(20):
        received = await asyncio.gather(*waiting)
    assert len(set(received)) == 1
    assert live_database.queues["reads"].in_use == 0
    for chunks in all_chunks:
        await chunks.aclose()


async def test_an_idle_stream_has_comments(working_house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "KEEPALIVE_SECONDS", 0.01)
    chunks = working_house.stream().chunks()
    await anext(chunks)
    async with asyncio.timeout(20):
        assert [await anext(chunks), await anext(chunks)] == [b": ping\n\n", b": ping\n\n"]
    await chunks.aclose()


async def test_a_reader_who_takes_nothing_is_cut(working_house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "MOST_WAITING", 3)
    hub = working_house.hub
    with (
        hub.join(working_house.id, reader_id=1, after=0) as slow,
        hub.join(working_house.id, reader_id=2, after=0) as fast,
    ):
        taken: list[LiveEvent] = []
        for _ in range(5):
            await working_house.write()
            async with asyncio.timeout(20):
                taken += await fast.take(seconds=20)
        assert slow.is_cut
        assert await slow.take(seconds=20) == []
        assert not fast.is_cut
    assert [event.seq for event in taken] == [1, 2, 3, 4, 5]
    assert hub.cut == 1


def test_a_reader_is_cut_by_size_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "MOST_WAITING_BYTES", 10)
    subscription = Subscription(reader_id=1, after=0)
    subscription.offer(LiveEvent(1, b"x" * 11))
    # One event alone is sent, however large it is.
    assert not subscription.is_full
    subscription.offer(LiveEvent(2, b"x"))
    assert subscription.is_full


async def test_a_reader_who_takes_all_is_not_cut(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """One look finds more than may wait for a reader."""
    monkeypatch.setattr(hub_module, "MOST_WAITING_BYTES", 8_000)
    monkeypatch.setattr(hub_module, "MOST_GIVEN_BYTES", 4_000)
    with house.hub.join(house.id, reader_id=1, after=0) as subscription:
        await house.write("x" * 1_000, count=18)
        await house.write("x" * 10_000, count=2)
        taken: list[LiveEvent] = []
        async with running(house.hub.run(), name="hub"), asyncio.timeout(30):
            while len(taken) < 20 and not subscription.is_cut:
                taken += await subscription.take(seconds=30)
    assert [event.seq for event in taken] == list(range(1, 21))


async def test_more_events_than_one_look_takes_all_come_in_their_order(working_house: House) -> None:
    with working_house.hub.join(working_house.id, reader_id=1, after=0) as subscription:
        await wait_until(lambda: working_house.hub.place_of(working_house.id) == 0)
        await working_house.write(count=250)
        taken: list[LiveEvent] = []
        async with asyncio.timeout(30):
            while len(taken) < 250:
                taken += await subscription.take(seconds=30)
    assert [event.seq for event in taken] == list(range(1, 251))


async def test_a_part_of_a_draft_waits_for_what_was_committed_before_it(house: House) -> None:
    """A reader who has been removed must not get it; that there is something to read is known, and not yet read."""
    with house.hub.join(house.id, reader_id=1, after=0) as subscription:
        await house.hub.step()
        house.hub.note_draft(house.id, LiveEvent(0, b"first"), is_ordered=True)
        assert [event.data for event in await subscription.take(seconds=0)] == [b"first"]
        await house.write()
        house.hub.note(house.id, 1)
        house.hub.note_draft(house.id, LiveEvent(0, b"second"), is_ordered=True)
        assert await subscription.take(seconds=0) == []
        await house.hub.step()
        assert [event.seq for event in await subscription.take(seconds=0)] == [1, 0]


async def test_without_notifications_each_part_of_a_draft_waits_for_a_look(house: House) -> None:
    with house.hub.join(house.id, reader_id=1, after=0) as subscription:
        await house.hub.step()
        await house.write()
        house.hub.note_draft(house.id, LiveEvent(0, b"part"), is_ordered=False)
        assert await subscription.take(seconds=0) == []
        await house.hub.step()
        assert [event.seq for event in await subscription.take(seconds=0)] == [1, 0]


@pytest.mark.parametrize("missing", [[1, 2], [2]])
async def test_a_stream_ends_where_events_are_missing(
    house: House, live_database: Database, missing: list[int]
) -> None:
    """They were deleted before the hub could read them; its client asks again, and gets a reset."""
    with house.hub.join(house.id, reader_id=1, after=0) as subscription:
        await house.write(count=3)
        async with live_database.working() as connection:
            await connection.execute(
                text("DELETE FROM conversation_events WHERE conversation_id = :id AND seq = ANY(:missing)"),
                {"id": house.id, "missing": missing},
            )
        await house.hub.step()
        assert subscription.is_over
        assert await subscription.take(seconds=0) == []
    assert not house.hub.is_followed(house.id)
    chunks = house.stream(newest=3).chunks()
    received = [await anext(chunks) for _ in range(1 + missing[0])]
    assert received[0] == READY
    assert received[-1].startswith(b"event: reset")
    await chunks.aclose()


async def test_a_removed_reader_has_no_reset(house: House, live_database: Database) -> None:
    """Where events are missing, the removal may be one of them."""
    await house.write()
    async with live_database.working() as connection:
        for table in ("conversation_events", "conversation_members"):
            await connection.execute(text(f"DELETE FROM {table} WHERE conversation_id = :id"), {"id": house.id})  # noqa: S608 a name of ours
    assert [chunk async for chunk in house.stream(newest=1).chunks()] == [READY]


async def test_a_stream_holds_little_of_what_its_reader_has_missed(house: House) -> None:
    """A message of 100,000 characters that are escaped has 600,000 bytes; the next is read when it is sent."""
    await house.write("\x01" * 100_000, count=3)
    await house.write("short", count=20)
    assert [event.seq for event in await house.hub.read_page(house.id, after=0)] == [1]
    assert [event.seq for event in await house.hub.read_page(house.id, after=2)] == [3, *range(4, 23)]
    chunks = house.stream(newest=23).chunks()
    received = [await anext(chunks) for _ in range(6)]
    assert [piece.count(b"\nid: ") for piece in received] == [1, 1, 1, 1, 19, 1]
    await chunks.aclose()


def test_events_that_are_sent_together_are_short() -> None:
    events = [LiveEvent(seq, b"x" * size) for seq, size in enumerate((1000, 1000, 100_000, 0, 1000))]
    assert list(map(len, streams.concatenate(events))) == [2000, 100_000, 1000]
    assert list(streams.concatenate([])) == []


async def test_a_reader_who_comes_back_during_a_look_goes_on(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look began for a stream that has left, at an earlier place than that of the new one."""
    read, is_found, may_return = reading.read_changes, asyncio.Event(), asyncio.Event()

    async def read_late(database: Database, places: Mapping[int, int]) -> dict[int, list[LiveEvent]]:
        found = await read(database, places)
        is_found.set()
        await may_return.wait()
        return found

    monkeypatch.setattr(reading, "read_changes", read_late)
    with house.hub.join(house.id, reader_id=1, after=0):
        await house.write()
        looking = asyncio.create_task(house.hub.step())
        await is_found.wait()
    with house.hub.join(house.id, reader_id=1, after=1) as subscription:
        may_return.set()
        await looking
        assert not subscription.is_over
        await house.write()
        await house.hub.step()
        assert [event.seq for event in await subscription.take(seconds=0)] == [2]


def test_nothing_follows_the_removal_of_the_reader() -> None:
    subscription = Subscription(reader_id=7, after=2)
    for event in (
        LiveEvent(2, b"known"),
        LiveEvent(3, b"another's", removed_id=8),
        LiveEvent(4, b"own", removed_id=7),
        LiveEvent(5, b"later"),
        LiveEvent(0, b"part"),
    ):
        subscription.offer(event)
    assert subscription.is_over
    assert [event.data for event in subscription._events] == [b"another's", b"own"]


async def test_streams_are_ended_once_however_often_that_is_said(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the stop each connection says it: a thousand streams would be ended a thousand times each."""
    cuts: list[Subscription] = []

    def note(subscription: Subscription) -> None:
        cuts.append(subscription)

    monkeypatch.setattr(Subscription, "cut", note)
    with (
        house.hub.join(house.id, reader_id=7, after=0) as one,
        house.hub.join(house.id, reader_id=8, after=0) as other,
    ):
        for _ in range(3):
            house.hub.end_streams()
    assert len(cuts) == 2
    assert set(cuts) == {one, other}


async def test_streams_end_when_the_process_stops_and_none_begins(working_house: House) -> None:
    chunks = working_house.stream().chunks()
    await anext(chunks)
    waiting = asyncio.ensure_future(anext(chunks, None))
    await wait_until(lambda: working_house.hub.streams == 1)
    working_house.hub.end_streams()
    async with asyncio.timeout(20):
        assert await waiting is None
        assert [chunk async for chunk in working_house.stream(newest=5).chunks()] == [READY]
        assert [chunk async for chunk in working_house.stream().chunks()] == [READY]
