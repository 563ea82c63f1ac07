"""Streams of conversations: one process writes, and the other is read."""

import asyncio
from contextlib import suppress
from datetime import timedelta
from functools import partial
from urllib.parse import urlsplit

import httpx
import pytest
from content_support import Caller, assert_problem
from kpi_shared.caller import Role
from kpi_shared.tokens import TokenCodec
from live_support import Conversation, Reading, follow, read_stream, wait_until


async def test_a_reader_has_what_another_replica_writes(conversation: Conversation) -> None:
    async with follow(conversation.events(at=1), conversation.owner.headers) as reading:
        assert [(event.type, event.data, event.id) for event in reading.events] == [("ready", {"seq": 0}, 0)]
        assert reading.received.startswith("event: ready\ndata: {")
        assert "\nretry: 1000\n" in reading.received
        written = await conversation.write("seen\nat once", at=0)
        await wait_until(lambda: len(reading.events) == 2)
        shown = reading.events[1]
        assert (shown.id, shown.type) == (1, "message.created")
        assert shown.data == {**written, "draft": None}


async def test_a_stream_is_neither_compressed_nor_kept(conversation: Conversation) -> None:
    headers = {**conversation.owner.headers, "Accept-Encoding": "zstd, gzip", "If-None-Match": "*"}
    async with follow(conversation.events(), headers) as reading:
        assert reading.status == 200
        assert reading.headers["content-type"].startswith("text/event-stream")
        assert reading.headers["cache-control"] == "no-store"
        assert {"content-encoding", "etag", "content-length"}.isdisjoint(reading.headers)


async def test_a_reader_who_begins_later_has_what_happens_from_then_on(conversation: Conversation) -> None:
    await conversation.write("before")
    async with follow(conversation.events(at=1), conversation.owner.headers) as reading:
        assert [(event.type, event.id) for event in reading.events] == [("ready", 1)]
        await conversation.write("after")
        await wait_until(lambda: bool(reading.of("message.created")))
        assert reading.numbers == [2]


@pytest.mark.parametrize("how", ["header", "parameter"])
async def test_a_reader_who_comes_back_has_what_they_missed(conversation: Conversation, how: str) -> None:
    for number in range(50):
        await conversation.write(str(number), at=number % 2)
    url, last = conversation.events(at=1), 3
    if how == "parameter":
        url, last = f"{url}/?after=3", None
    async with follow(url, conversation.owner.headers, last=last) as reading:
        await wait_until(lambda: len(reading.events) == 48)
        await conversation.write("the next")
        await wait_until(lambda: len(reading.events) == 49)
    assert reading.events[0].data == {"seq": 3}
    assert reading.numbers == list(range(4, 52))
    assert [event.id for event in reading.events[1:]] == list(range(4, 52))


async def test_nothing_is_missed_or_doubled_while_a_reader_comes_and_goes(conversation: Conversation) -> None:
    """Each stream is cut at some moment, mostly while it is being joined, and the next begins where it ended."""
    numbers: list[int] = []
    last = 0

    async def read_some(turn: int) -> None:
        nonlocal last
        reading = Reading()
        address, headers = conversation.events(at=turn % 2), conversation.owner.headers
        task = asyncio.create_task(read_stream(address, headers, reading, last=last))
        await wait_until(partial(reading.has_more_than, 1))
        await asyncio.sleep(0.02 * (turn % 4))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        numbers.extend(reading.numbers)
        last = reading.last_id

    async with asyncio.timeout(60):
        for turn in range(12):
            writing = [asyncio.create_task(write_all(conversation, at=at, count=5)) for at in (0, 1) for _ in range(2)]
            await read_some(turn)
            await asyncio.gather(*writing)
        while len(numbers) < 240:
            await read_some(0)
    assert numbers == list(range(1, 241))


async def write_all(conversation: Conversation, *, at: int, count: int) -> None:
    for number in range(count):
        await conversation.write(str(number), at=at)


@pytest.mark.parametrize("last", [1, 9], ids=["deleted", "never given"])
async def test_a_place_that_is_not_kept_is_reset(conversation: Conversation, last: int) -> None:
    for number in range(4):
        await conversation.write(str(number))
    await conversation.execute("DELETE FROM conversation_events WHERE conversation_id = :id AND seq < 3")
    async with follow(conversation.events(), conversation.owner.headers, last=last) as reading:
        await conversation.write("the next")
        await wait_until(lambda: len(reading.events) == 3)
    assert [(event.type, event.id) for event in reading.events] == [("ready", 4), ("reset", 4), ("message.created", 5)]
    # The oldest that is kept can be read on from the place before it.
    async with follow(conversation.events(), conversation.owner.headers, last=2) as reading:
        await wait_until(lambda: len(reading.events) == 4)
        assert reading.numbers == [3, 4, 5]


async def test_a_reset_comes_too_where_all_events_are_deleted(conversation: Conversation) -> None:
    await conversation.write()
    await conversation.write()
    await conversation.execute("DELETE FROM conversation_events WHERE conversation_id = :id")
    async with follow(conversation.events(), conversation.owner.headers, last=1) as reading:
        await wait_until(lambda: len(reading.events) == 2)
        assert [event.type for event in reading.events] == ["ready", "reset"]
    async with follow(conversation.events(), conversation.owner.headers, last=2) as reading:
        assert [event.type for event in reading.events] == ["ready"]


@pytest.mark.parametrize(("last", "before"), [(2, [3]), (3, [])], ids=["within a page", "at its beginning"])
async def test_a_place_after_which_one_is_missing_is_reset(
    conversation: Conversation, last: int, before: list[int]
) -> None:
    for number in range(6):
        await conversation.write(str(number))
    await conversation.execute("DELETE FROM conversation_events WHERE conversation_id = :id AND seq = 4")
    async with follow(conversation.events(), conversation.owner.headers, last=last) as reading:
        await wait_until(lambda: bool(reading.of("reset")))
        await conversation.write("the next")
        await wait_until(lambda: 7 in reading.numbers)
        assert not reading.is_over
    assert reading.numbers == [*before, 7]
    assert reading.of("reset") == [{"seq": 6}]


async def test_strangers_and_bad_places_get_a_problem(conversation: Conversation, bert: Caller, admin: Caller) -> None:
    async def get(headers: dict[str, str], **more: str) -> httpx.Response:
        return await conversation.client.get(conversation.events(), headers={**headers, **more})

    assert_problem(await get({}), 401, "unauthenticated")
    for stranger in (bert, admin):
        assert_problem(await get(stranger.headers), 404, "conversation-not-found")
    assert (await get(conversation.owner.headers, **{"Last-Event-ID": "x"})).status_code == 422
    missing = f"{conversation.addresses[0]}/conversations/999999/events"
    assert (await conversation.client.get(missing, headers=conversation.owner.headers)).status_code == 404


async def test_white_space_around_a_last_event_id_is_no_part_of_it(conversation: Conversation) -> None:
    """Not with httpx, which does not send such a header."""
    address = urlsplit(conversation.events())
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    fields = {"Host": address.netloc, **conversation.owner.headers, "Last-Event-ID": "0 \t", "Connection": "close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    writer.write(f"HEAD {address.path} HTTP/1.1\r\n{head}\r\n".encode())
    async with asyncio.timeout(20):
        assert (await reader.readline()).split()[1] == b"200"
    writer.close()


async def test_head_has_no_stream(conversation: Conversation) -> None:
    async with asyncio.timeout(20):
        response = await conversation.client.head(conversation.events(), headers=conversation.owner.headers)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")


async def test_a_stream_ends_with_its_token(conversation: Conversation, tokens: TokenCodec) -> None:
    """Also where no feed of revocations is followed."""
    owner = conversation.owner.subject
    token = tokens.mint(
        user_id=owner.id, username="anna", role=Role.USER, session_id="1", lifetime=timedelta(seconds=2)
    )
    async with follow(conversation.events(), {"Authorization": f"Bearer {token}"}) as reading:
        await wait_until(lambda: reading.is_over)


async def test_a_removed_member_has_nothing_that_came_after(conversation: Conversation, bert: Caller) -> None:
    await conversation.share(bert)
    async with (
        follow(conversation.events(at=1), bert.headers, last=0) as reading,
        follow(conversation.events(at=1), conversation.owner.headers, last=0) as other,
    ):
        await conversation.write("before")
        await conversation.remove(bert)
        await conversation.write("after")
        await wait_until(lambda: reading.is_over and len(other.of("message.created")) == 2)
    assert [message["content"] for message in reading.of("message.created")] == ["before"]
    assert reading.events[-1].type == "member.removed"
    assert reading.of("member.removed") == [{"user_id": bert.subject.id}]
    response = await conversation.client.get(conversation.events(), headers=bert.headers)
    assert_problem(response, 404, "conversation-not-found")


async def test_a_stream_ends_with_its_conversation(conversation: Conversation) -> None:
    async with follow(conversation.events(at=1), conversation.owner.headers) as reading:
        await conversation.delete()
        await wait_until(lambda: reading.is_over)


async def test_a_reader_who_does_not_read_is_cut_and_can_go_on(conversation: Conversation) -> None:
    """More is written than is kept for one stream. What was sent before its end is complete."""
    reading, headers = Reading(), conversation.owner.headers
    async with (
        httpx.AsyncClient(timeout=60) as client,
        client.stream("GET", conversation.events(at=1), headers=headers) as response,
    ):
        texts = response.aiter_text()
        reading.take(await anext(texts))
        for _ in range(150):
            await conversation.write("x" * 100_000)
        with suppress(httpx.TransportError):
            async for text in texts:
                reading.take(text)
    assert 0 < len(reading.numbers) < 150
    async with follow(conversation.events(at=1), headers, last=reading.last_id) as resumed:
        await wait_until(lambda: len(reading.numbers) + len(resumed.numbers) == 150)
    assert reading.numbers + resumed.numbers == list(range(1, 151))


async def test_a_process_whose_listening_connection_is_lost_looks_by_itself(conversation: Conversation) -> None:
    async with follow(conversation.events(at=1), conversation.owner.headers) as reading:
        await conversation.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'kpi-content-live'"
        )
        for number in (1, 2):
            await conversation.write()
            await wait_until(partial(reading.has_more_than, number))
    assert reading.numbers == [1, 2]
