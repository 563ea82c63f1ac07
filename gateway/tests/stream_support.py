"""An upstream whose streams the test writes, and clients that read them as they come."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from gateway_support import Wire
from kpi_shared.deadlines import OWN_PACE
from kpi_shared.testing.metrics import Scrape
from starlette.types import Receive, Scope, Send

EVENTS = b"text/event-stream; charset=utf-8"
# How long a test waits for what is to happen.
PATIENCE = 10.0


class Stage:
    """``/events`` is a stream of the pieces that ``pieces`` gives; other paths respond at once."""

    def __init__(self) -> None:
        self.pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.headers: dict[bytes, bytes] = {}
        self.open = 0
        self.begun = 0
        # Streams that begin wait for this before they send anything.
        self.may_begin = asyncio.Event()
        self.may_begin.set()
        self.received: list[bytes] = []
        self.upload_left = asyncio.Event()
        self.sent = 0
        self.is_ready = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == "/health/ready":
            await respond(send, b"", status=200 if self.is_ready else 503)
            return
        self.headers = dict(scope["headers"])
        if scope["path"].endswith("/events"):
            await self._stream(receive, send)
        elif scope["method"] == "POST":
            scope[OWN_PACE] = True
            await self._take_upload(receive, send)
        else:
            await respond(send, b"ordinary")

    async def _stream(self, receive: Receive, send: Send) -> None:
        self.open += 1
        self.begun += 1
        leaving = asyncio.create_task(_wait_for_end(receive))
        sending = asyncio.create_task(self._send_pieces(send))
        try:
            await asyncio.wait({leaving, sending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.open -= 1
            leaving.cancel()
            sending.cancel()

    async def _send_pieces(self, send: Send) -> None:
        await self.may_begin.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", EVENTS)]})
        await send({"type": "http.response.body", "body": b": hello\n\n", "more_body": True})
        while (piece := await self.pieces.get()) is not None:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            self.sent += len(piece)
            # To a client that has left, nothing waits.
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _take_upload(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.upload_left.set()
                return
            if message["body"]:
                self.received.append(message["body"])
            if not message["more_body"]:
                break
        await respond(send, b"stored", status=201)


async def respond(send: Send, body: bytes, *, status: int = 200) -> None:
    headers = [
        (b"content-type", b"text/plain"),
        (b"content-length", b"%d" % len(body)),
        (b"etag", b'"8"'),
        (b"idempotency-replayed", b"true"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _wait_for_end(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@asynccontextmanager
async def following(address: str, target: str = "/conversations/1/events") -> AsyncIterator[Wire]:
    """A client that has the head and the first piece of a stream."""
    async with asyncio.timeout(PATIENCE), await Wire.to(address) as wire:
        await wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        head = await wire.head()
        assert b" 200 " in head, head
        assert await chunk_of(wire) == b": hello\n\n"
        yield wire


async def chunk_of(wire: Wire) -> bytes:
    """The next chunk; empty at the end of the body."""
    size = int(await wire.reader.readuntil(b"\r\n"), 16)
    return (await wire.reader.readexactly(size + 2))[:-2]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 any condition, not only those that have an event
            await asyncio.sleep(0.01)


async def count(port: int, name: str, value: float, **labels: str) -> None:
    """Wait until the metric has this value."""
    await asyncio.to_thread(Scrape.wait_for, port, lambda found: found.value(name, **labels) == value)
