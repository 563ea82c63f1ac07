"""Streams of conversations over two real processes."""

import asyncio
from collections.abc import AsyncIterator

import httpx
from live_support import Conversation, follow, wait_until


async def test_a_reader_has_what_another_replica_writes(conversation: Conversation) -> None:
    async with follow(conversation.events(at=1), conversation.owner.headers) as reading:
        assert reading.status == 200
        assert [(event.type, event.data, event.id) for event in reading.events] == [("ready", {"seq": 0}, 0)]
        written = await conversation.write("seen at once", at=0)
        await wait_until(lambda: len(reading.events) == 2)
        shown = reading.events[1]
        assert (shown.id, shown.type) == (1, "message.created")
        assert shown.data == {**written, "draft": None}


async def stream_up(
    conversation: Conversation, lines: list[bytes], kind: str = "application/x-ndjson", *, at: int = 0
) -> httpx.Response:
    async def body() -> AsyncIterator[bytes]:
        for line in lines:
            yield line
            await asyncio.sleep(0.1)

    url = f"{conversation.addresses[at]}{conversation.path}/messages?stream=true"
    headers = {**conversation.owner.headers, "Content-Type": kind}
    return await conversation.client.post(url, content=body(), headers=headers)


async def test_an_upload_is_seen_as_it_comes_and_stored_once(conversation: Conversation) -> None:
    async with follow(conversation.events(at=1), conversation.owner.headers) as reading:
        lines = [b'{"role": "assistant", "delta": "Bees "}\n', b'{"delta": "dance"}\n', b'{"delta": "."}\n']
        response = await stream_up(conversation, lines)
        assert response.status_code == 201, response.text
        await wait_until(lambda: bool(reading.of("message.created")))
        print(reading.events)
        assert "".join(delta["text"] for delta in reading.of("message.delta")) == "Bees dance."
