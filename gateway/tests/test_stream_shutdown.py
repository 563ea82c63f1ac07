"""Streams when the gateway stops, as a program: they end at once and completely, so that clients resume elsewhere."""

import asyncio
import signal

from gateway_support import Wire, serving
from stream_support import PATIENCE, Stage, chunk_of, following, until
from test_process import program
from test_streamed_uploads import chunk, head_of


async def test_streams_end_completely_when_the_gateway_stops() -> None:
    stage = Stage()
    async with (
        serving(stage) as upstream,
        program(CONTENT_URL=upstream, SHUTDOWN_SECONDS="30") as (process, address),
        following(address) as wire,
        await Wire.to(address) as uploading,
        await Wire.to(address) as beginning,
        asyncio.timeout(PATIENCE),
    ):
        stage.pieces.put_nowait(b"id: 1\ndata: x\n\n")
        await until(lambda: stage.sent)
        await uploading.send(head_of() + chunk(b"data: 1\n\n"))
        await until(lambda: stage.received)
        stage.may_begin.clear()
        await beginning.send(b"GET /conversations/1/events HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: stage.open == 2)
        process.send_signal(signal.SIGTERM)
        assert await chunk_of(wire) == b"id: 1\ndata: x\n\n"
        assert await chunk_of(wire) == b""
        assert await wire.rest() == b""
        # One whose head comes only now is ended at once.
        stage.may_begin.set()
        assert b" 200 " in await beginning.head()
        assert (await beginning.rest()).endswith(b"0\r\n\r\n")
        await until(lambda: not stage.open)
        # An upload cannot be resumed, so it is completed, as other requests in flight are.
        await uploading.send(chunk(b"data: 2\n\n") + b"0\r\n\r\n")
        assert b" 201 " in await uploading.head()
        assert await process.wait() == 0
